"""The seed, judged by an unmodified Synapse 0.33.8, and that server judged by us.

0.33.8 (November 2018) is the last release that publishes and fetches key
version 1 with the comparison of certificates. It believes a server whose
signed request it answers; where it does not believe, it answers 401 or 502.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.peers import naming, proxy, scripted
from tests.peers.internet import Internet
from tests.peers.ours import Ours, Said, ask
from tests.peers.scripted import Scripted
from tests.peers.synapse import Synapse

pytestmark = pytest.mark.peer("synapse-0.33.8")

_REFUSED = (401, 502)


def old_believes(old: Synapse, origin: str, key: Any) -> bool:
    """Whether old.test fetches the keys of ``origin`` and accepts a request signed by ``key``."""
    uri = f"/_matrix/federation/v1/query/profile?user_id=%40alice%3A{old.server_name}"
    header = scripted.authorization(origin, old.server_name, key, "GET", uri)
    assert old.token, "alice exists"
    answer = old.request("GET", uri, headers={"Authorization": header})
    assert answer.status in (200, *_REFUSED), answer
    return answer.status == 200


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A document with one fault: what 0.33.8 makes of it, and which condition of ours fails."""

    name: str
    change: Callable[[Draft], dict[str, Any]]
    old: bool
    ours: str
    """The code of our refusal; empty where we take it."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What the documents are made from."""

    server_name: str
    leaf: bytes
    other_leaf: bytes
    key: Any
    other_key: Any

    def plain(self) -> dict[str, Any]:
        """Unsigned."""
        return scripted.unsigned_v1(self.server_name, self.leaf, self.key)

    def good(self) -> dict[str, Any]:
        """As it should be."""
        return scripted.v1_document(self.server_name, self.leaf, self.key)

    def signed(self, **members: Any) -> dict[str, Any]:
        """Signed after changing members; ``None`` takes one away."""
        document = {**self.plain(), **members}
        kept = {name: value for name, value in document.items() if value is not None}
        return scripted.signed(kept, self.server_name, self.key)


def _flipped(draft: Draft) -> dict[str, Any]:
    document = copy.deepcopy(draft.good())
    mine = document["signatures"][draft.server_name]
    raw = bytearray(base64.b64decode(mine[scripted.key_id(draft.key)] + "=="))
    raw[5] ^= 1
    mine[scripted.key_id(draft.key)] = scripted.unpadded(bytes(raw))
    return document


def _silent_key(draft: Draft) -> dict[str, Any]:
    keys = (draft.key, draft.other_key)
    document = scripted.unsigned_v1(draft.server_name, draft.leaf, *keys)
    return scripted.signed(document, draft.server_name, draft.key)


def _under_wrong_name(draft: Draft) -> dict[str, Any]:
    document = {**draft.plain(), "server_name": "other.test"}
    return scripted.signed(document, "other.test", draft.key)


CASES = [
    Case(name="nothing wrong", change=Draft.good, old=True, ours=""),
    Case(
        name="certificate swapped",
        change=lambda d: d.signed(tls_certificate=scripted.unpadded(d.other_leaf)),
        old=False,
        ours="key-certificate-matches",
    ),
    Case(
        name="certificate padded",
        change=lambda d: d.signed(tls_certificate=base64.b64encode(d.leaf).decode()),
        old=False,  # it compares texts
        ours="",  # we compare bytes (REF14-09)
    ),
    Case(
        name="certificate missing",
        change=lambda d: d.signed(tls_certificate=None),
        old=False,
        ours="key-certificate-present",
    ),
    Case(
        name="name changed",
        change=lambda d: d.signed(server_name="other.test"),
        old=True,
        ours="key-name-matches",
    ),
    Case(
        name="name missing",
        change=lambda d: d.signed(server_name=None),
        old=True,
        ours="key-name-present",
    ),
    Case(
        name="signed under another name",
        change=_under_wrong_name,
        old=False,
        ours="key-name-matches",
    ),
    Case(
        name="right name but signed under another",
        change=lambda d: scripted.signed(d.plain(), "other.test", d.key),
        old=False,
        ours="key-signatures-entry",
    ),
    Case(
        name="empty signature map",
        change=lambda d: {**d.plain(), "signatures": {d.server_name: {}}},
        old=True,
        ours="key-signatures-not-empty",
    ),
    Case(
        name="no signatures",
        change=Draft.plain,
        old=False,
        ours="key-signatures-present",
    ),
    Case(
        name="a listed key did not sign",
        change=_silent_key,
        old=True,
        ours="key-each-listed-signed",
    ),
    Case(
        name="signed by a key that is not listed",
        change=lambda d: scripted.signed(d.good(), d.server_name, d.other_key),
        old=False,
        ours="key-signers-listed",
    ),
    Case(
        name="one bit of the signature flipped",
        change=_flipped,
        old=False,
        ours="key-signatures-verify",
    ),
    Case(
        name="no keys",
        change=lambda d: d.signed(verify_keys={}),
        old=False,
        ours="key-verify-keys-present",
    ),
]


@pytest.fixture(scope="module")
def publisher(internet: Internet) -> Scripted:
    """A server of 2014: self-signed, and saying whatever it is told to."""
    pair = internet.ca.self_signed("scripted")
    while len(pair.der) % 3 == 0:  # its base64 would need no padding
        pair = internet.ca.self_signed("scripted")
    return Scripted(internet, pair)


@pytest.fixture(scope="module")
def stranger(internet: Internet) -> bytes:
    """Somebody else's certificate."""
    return internet.ca.self_signed("somebody else").der


@pytest.mark.req("REF14-08", "REF14-09", "REF14-10", "SEED-15", "KEYF-01", "KEYF-02")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_broken_document_is_refused_for_its_own_reason(
    internet: Internet, old: Synapse, publisher: Scripted, stranger: bytes, case: Case
) -> None:
    name = internet.name("doc")  # 0.33.8 keeps keys for ever by name and key id
    draft = Draft(
        server_name=name,
        leaf=publisher.pair.der,
        other_leaf=stranger,
        key=scripted.new_key("a_first"),
        other_key=scripted.new_key("a_other"),
    )
    internet.dns.host_record(name, publisher.ip)
    publisher.publish(name, case.change(draft))
    assert old_believes(old, name, draft.key) is case.old
    assert f"GET /_matrix/key/v1/ {name} HTTP/1.0" in publisher.log
    fetched = fetch_v1(internet, name)
    assert (fetched.code, fetched.exit) == (case.ours, 1 if case.ours else 0)


@pytest.mark.req("SEED-05", "SEED-14", "SEED-15", "REF14-07", "REF14-12")
def test_we_fetch_and_verify_its_keys_over_its_self_signed_connection(
    internet: Internet, old: Synapse
) -> None:
    document = internet.client("https://127.0.0.5:8449").get("/_matrix/key/v1").json
    fetched = fetch_v1(internet, old.server_name)
    assert (fetched.exit, fetched.data["version"]) == (0, "v1")
    assert (fetched.data["trust"], fetched.data["entered"]) == (
        "published-certificate",
        "first use",
    )
    keys = {each["key_id"]: each["key"] for each in fetched.data["keys"]}
    assert keys == document["verify_keys"]
    assert fetched.data["document"] == document


@pytest.mark.req("SEED-18", "SEC-20")
def test_under_the_default_rule_we_send_it_nothing(internet: Internet, old: Synapse) -> None:
    fetched = ask(internet, "keys", "fetch", old.server_name)
    assert fetched.exit == 1
    assert "key-fetch" not in {step["what"] for step in fetched.data["trail"]}


@pytest.mark.parametrize("port", ["", ":8466"], ids=["by SRV", "by port"])
@pytest.mark.req("SEED-04", "SEED-05", "SEED-08", "SEED-09", "SEED-10", "SEED-11", "SEED-12")
@pytest.mark.req("REF14-01", "REF14-03", "REF14-05", "REF14-06")
def test_it_fetches_our_version_1_and_accepts_a_request_signed_by_our_key(
    internet: Internet, old: Synapse, port: str
) -> None:
    host, ip = internet.name("ours"), internet.ip()
    name = host + port
    records = [] if port else [naming.srv(f"_matrix._tcp.{host}", host, 8466)]
    internet.dns.add(naming.host(host, ip), *records)
    ours = Ours(internet, name, ip=ip, port=8466, pair=internet.ca.self_signed(host))
    # Without fingerprints in version 2, 0.33.8 has to go on to version 1.
    assert "tls_fingerprints" not in ours.get("/_matrix/key/v2/server").json
    assert old_believes(old, name, ours.key)
    assert not old_believes(old, name, scripted.new_key(ours.key.version))
    assert fetch_v1(internet, name).exit == 0
    ours.close()


@pytest.mark.peer("nginx")
@pytest.mark.parametrize("told", [True, False], ids=["told the certificate", "not told"])
@pytest.mark.req("SEED-12", "SEED-14")
def test_behind_a_proxy_version_1_needs_the_certificate_that_peers_see(
    internet: Internet, old: Synapse, told: bool
) -> None:
    name, ip = internet.name("proxied"), internet.ip()
    pair = internet.ca.self_signed(name)
    internet.dns.host_record(name, ip)
    nginx = internet.nginx(proxy.reverse_proxy(ip, 8448, pair, f"{ip}:8008"))
    ours = Ours(internet, name, ip=ip, port=8008, outer=pair if told else None)
    assert old_believes(old, name, ours.key) is told
    fetched = fetch_v1(internet, name)
    assert (fetched.exit, fetched.code) == ((0, "") if told else (1, "answer-unsupported"))
    ours.close()
    internet.end(nginx)


@pytest.mark.req("SEED-14", "REF14-08")
def test_our_document_over_another_certificate_is_refused_by_it_and_by_us(
    internet: Internet, old: Synapse, publisher: Scripted
) -> None:
    name = internet.name("swapped")
    ours = Ours(internet, name, ip=internet.ip(), pair=internet.ca.self_signed(name))
    for path in scripted.V1_PATHS:
        publisher.say(name, path, ours.get(path).text.encode())
    ours.close()
    internet.dns.host_record(name, publisher.ip)
    assert not old_believes(old, name, ours.key)
    fetched = fetch_v1(internet, name)
    assert (fetched.exit, fetched.code) == (1, "key-certificate-matches")


@pytest.mark.req("SEED-14", "KEYF-15")
def test_after_first_contact_only_a_known_key_can_vouch_for_another(
    internet: Internet, publisher: Scripted
) -> None:
    name = internet.name("renewed")
    internet.dns.host_record(name, publisher.ip)
    config = internet.place("known") / "ranvier.toml"
    config.write_text(_LISTED.format(name=name))
    first, second = scripted.new_key("a_first"), scripted.new_key("a_second")

    def fetched_after(*signers: Any) -> Said:
        publisher.publish(name, scripted.v1_document(name, publisher.pair.der, *signers))
        return ask(internet, "keys", "fetch", name, "--config", str(config), ca=False)

    assert fetched_after(first).exit == 0
    refused = fetched_after(second)
    assert (refused.exit, refused.code) == (1, "key-signed-by-known")
    assert fetched_after(first, second).exit == 0
    assert fetched_after(second).exit == 0


_LISTED = """\
[[peers]]
names = ["{name}"]
mode = "2014"
trust = "published-certificate"
"""


def fetch_v1(internet: Internet, name: str) -> Said:
    """Our own fetch by the rule and the discovery of 2014, for this name only."""
    seed = ("--mode", "2014", "--trust", "published-certificate")
    return ask(internet, "keys", "fetch", name, *seed, ca=False)
