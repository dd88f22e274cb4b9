"""``ranvier keys fetch NAME``: another server's signing keys, with an outcome for each."""

from __future__ import annotations

from typing import Any

import msgspec

from ranvier.errors import RanvierError
from ranvier.faces.going import Going
from ranvier.faces.outcome import GOOD, NO, error_as_data, exit_code_of, print_json
from ranvier.faces.text import printable, render_trail, utc
from ranvier.protocol.canonical import encode_base64
from ranvier.protocol.keylife import KeyOutcome, KeyVerdict
from ranvier.services.keyring import KeyFetch
from ranvier.services.trust import TrustMode

PROVES_LITTLE = (
    "published-certificate, by first use: this proves that the document came from whoever holds\n"
    "  the certificate's private key, not who that is. Compare the fingerprint another way."
)


async def fetch(name: str, /, *, going: Going | None = None) -> int:
    """Fetch and verify the signing keys of the server NAME.

    Exit code 0 if at least one key is good for requests now, 1 if not, 3 if
    nobody could be asked.

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
        print_json({"server_name": name, **error_as_data(error)})
        return exit_code_of(error)
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
            lines.append(f"           {printable(outcome.reason)}")
    lines.append(f"  version {fetched.version[1:]}, good until {utc(fetched.lives_until)}")
    lines += [f"  ALARM {printable(each.sentence)}" for each in fetched.alarms]
    if fetched.trust is TrustMode.PUBLISHED_CERTIFICATE:
        first_use = fetched.entered == "first use"
        lines.append(f"  {PROVES_LITTLE if first_use else 'trusted by ' + fetched.entered}")
    return "\n".join(lines)
