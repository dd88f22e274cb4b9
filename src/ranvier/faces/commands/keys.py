"""``ranvier keys fetch NAME``: another server's signing keys, with an outcome for each."""

from __future__ import annotations

from typing import Any

import msgspec

from ranvier.errors import RanvierError
from ranvier.faces.going import Going
from ranvier.faces.outcome import GOOD, NO, print_failure, print_json
from ranvier.faces.text import printable, render_trail, utc, wrapped
from ranvier.protocol.canonical import encode_base64
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.services.keyring import KeyFetch
from ranvier.services.trust import TrustMode

PROVES_LITTLE = (
    "trusted by first use (published-certificate): the document came from whoever holds"
    " the private key of this certificate, and that may be anybody. Compare its"
    " fingerprint another way; then ask with --trust and"
)


_UNDER = " " * 11


async def fetch(name: str, /, *, going: Going | None = None) -> int:
    """Fetch, print, and give the exit code. The command's help stands in ``faces.cli``.

    Parameters
    ----------
    name:
        A server name: matrix.org, example.org:8448, [::1]:8448.
    """
    going = going or Going()
    try:
        async with going.federation(name) as federation:
            fetched = await federation.fetch_keys(name, fresh=True)
    except RanvierError as error:
        if not going.json:
            raise
        return print_failure(name, error)
    if going.json:
        print_json(fetch_as_data(fetched))
    else:
        print(render_fetch(fetched))
    good = any(each.verdict is KeyVerdict.GOOD for each in fetched.outcomes)
    return GOOD if good else NO


def fetch_as_data(fetched: KeyFetch) -> dict[str, Any]:
    """The same facts as :func:`render_fetch`."""
    return {
        "server_name": fetched.server_name,
        "version": fetched.version,
        "trust": fetched.trust,
        "entered": fetched.entered,
        "certificate_sha256": certificate_of(fetched),
        "source": fetched.source,
        "fetched_at_ms": fetched.fetched_at,
        "lives_until_ms": fetched.lives_until,
        "keys": [_key_as_data(each) for each in fetched.outcomes],
        "conditions": msgspec.to_builtins(fetched.conditions),
        "alarms": msgspec.to_builtins(fetched.alarms),
        "document": fetched.document.content,
        "trail": msgspec.to_builtins(fetched.trail.steps),
    }


def _key_as_data(outcome: KeyOutcome) -> dict[str, Any]:
    return {
        "key_id": outcome.key_id,
        "verdict": outcome.verdict,
        "key": encode_base64(outcome.key.key) if outcome.key else None,
        "until_ms": outcome.until,
        "code": outcome.code,
        "reason": outcome.reason,
    }


def render_fetch(fetched: KeyFetch) -> str:
    """The trail, the keys, and what to make of them."""
    lines = [render_trail(fetched.trail), "", f"keys of {printable(fetched.server_name)}"]
    for outcome in fetched.outcomes:
        key = encode_base64(outcome.key.key) if outcome.key else ""
        lines.append(f"  {outcome.verdict:<8} {printable(outcome.key_id)}  {key}".rstrip())
        if outcome.reason:
            lines += wrapped(printable(outcome.reason), first=_UNDER, later=_UNDER)
    lines.append(f"  key version {fetched.version[1:]}, good until {utc(fetched.lives_until)}")
    for alarm in fetched.alarms:
        lines += wrapped(f"ALARM {printable(alarm.sentence)}", first="  ", later="        ")
    return "\n".join([*lines, *_trust_lines(fetched)])


def _trust_lines(fetched: KeyFetch) -> list[str]:
    if fetched.trust is TrustMode.WEB_PKI:
        return []
    if fetched.entered != "first use":
        return [f"  trusted by {fetched.entered} (published-certificate)"]
    return [*wrapped(PROVES_LITTLE, first="  "), f"  sha256:{certificate_of(fetched)}"]


def certificate_of(fetched: KeyFetch) -> str | None:
    """The SHA-256 of the certificate that a version 1 document names, as hex."""
    named = fetched.document.tls_certificate
    return None if named is None else fingerprint(named)
