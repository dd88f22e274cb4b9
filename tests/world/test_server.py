"""A healthy server is healthy by our own rules, and each flaw is found under its own name."""

from __future__ import annotations

import pytest

from ranvier.errors import ConnectionLost, Malformed
from ranvier.limits import ExchangeLimits, Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.addresses import Address
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.keyconditions import examine_key_document
from ranvier.protocol.keys import KeyVersion, parse_key_document
from ranvier.protocol.names import TlsName
from ranvier.protocol.records import RecordKind
from ranvier.protocol.trust import WebPki
from ranvier.world import DocumentFlaw, Fault, MatrixServer, World, json_response

V1, V2 = KeyVersion.V1, KeyVersion.V2
Flaw = DocumentFlaw


async def get(world: World, server: MatrixServer, target: str) -> HttpResponse:
    name = TlsName(server.name.partition(":")[0])
    link = await world.wire.dial(server.host.address, name, WebPki())
    request = HttpRequest(method="GET", target=target, host=server.name)
    return await link.exchange(request, ExchangeLimits())


def broken(world: World, server: MatrixServer, version: KeyVersion, flaw: Flaw | None) -> str:
    """The code under which our rules refuse the document; empty if they take it."""
    body = server.document(version, flaw)
    try:
        document = parse_key_document(body, version, Limits())
    except Malformed as error:
        return error.code
    conditions = examine_key_document(
        document,
        expected_name=server.name,
        now=world.clock.now(),
        known_keys={key.key_id: key.verify_key for key in server.keys},
        peer_certificate=server.certificate.leaf,
    )
    fatal = first_fatal(conditions)
    failed = [each.id for each in conditions if each.failed]
    return fatal.id if fatal else ",".join(failed)


@pytest.mark.parametrize("version", KeyVersion)
def test_a_healthy_document_passes_every_condition(version: KeyVersion) -> None:
    world = World()
    assert broken(world, world.server("example.org"), version, None) == ""


@pytest.mark.parametrize(
    ("flaw", "first", "second"),
    [
        (Flaw.NO_NAME, "key-name-present", "key-name-present"),
        (Flaw.WRONG_NAME, "key-name-matches", "key-name-matches"),
        (Flaw.NO_KEYS, "key-verify-keys-present", "key-verify-keys-present"),
        (Flaw.NO_EXPIRY, "", "key-valid-until-present"),
        (Flaw.EXPIRED, "", "key-not-expired"),
        (Flaw.NO_CERTIFICATE, "key-certificate-present", ""),
        (Flaw.OTHER_CERTIFICATE, "key-certificate-matches", ""),
        (Flaw.BAD_CERTIFICATE, "key-certificate-decodes", ""),
        (Flaw.NO_SIGNATURES, "key-signatures-present", "key-signatures-present"),
        (Flaw.EMPTY_SIGNATURES, "key-signatures-not-empty", "key-signatures-not-empty"),
        (Flaw.SIGNED_BY_ANOTHER_NAME, "key-signatures-entry", "key-signatures-entry"),
        (Flaw.SILENT_KEY, "key-each-listed-signed", "key-each-listed-signed"),
        (Flaw.UNLISTED_SIGNER, "key-signers-listed", "key-signers-listed"),
        (Flaw.FLIPPED_BIT, "key-signatures-verify", "key-signatures-verify"),
        (Flaw.CHANGED_AFTERWARDS, "key-signatures-verify", "key-signatures-verify"),
        (Flaw.OTHER_KEY, "key-signed-by-known", "key-signed-by-known"),
        (Flaw.OTHER_BYTES, "key-signed-by-known", "key-signed-by-known,key-bytes-changed"),
        (Flaw.NOT_JSON, "json-not-json", "json-not-json"),
        (Flaw.NOT_AN_OBJECT, "json-not-object", "json-not-object"),
        (Flaw.TWICE, "json-duplicate-key", "json-duplicate-key"),
        (Flaw.DEEP, "json-too-deep", "json-too-deep"),
        (Flaw.HUGE, "json-too-large", "json-too-large"),
    ],
)
def test_each_flaw_is_found_under_its_own_name(flaw: Flaw, first: str, second: str) -> None:
    world = World()
    server = world.server("example.org")
    assert broken(world, server, V1, flaw) == first
    if flaw not in (Flaw.NO_CERTIFICATE, Flaw.OTHER_CERTIFICATE, Flaw.BAD_CERTIFICATE):
        assert broken(world, server, V2, flaw) == second


async def test_a_healthy_server_publishes_what_every_server_publishes() -> None:
    world = World()
    server = world.server("example.org", well_known="fed.example.org:8449")
    assert server.host.address.port == 8449
    ip = server.host.address.ip
    assert (await world.dns.ask("example.org", RecordKind.A)).addresses == (ip,)
    assert (await world.dns.ask("fed.example.org", RecordKind.A)).addresses == (ip,)
    for target in ("/_matrix/key/v1", "/_matrix/key/v1/"):
        assert (await get(world, server, target)).body == server.document(V1)
    for target in ("/_matrix/key/v2/server", "/_matrix/key/v2/server/ed25519:a"):
        assert (await get(world, server, target)).body == server.document(V2)
    assert b"version" in (await get(world, server, "/_matrix/federation/v1/version")).body
    assert (await get(world, server, "/elsewhere")).status == 404
    assert server.web is not None
    server.host = server.web
    well_known = await get(world, server, "/.well-known/matrix/server")
    assert well_known.body == b'{"m.server":"fed.example.org:8449"}'


async def test_without_a_delegation_nothing_listens_on_443() -> None:
    world = World()
    server = world.server("example.org")
    assert server.web is None
    assert (await get(world, server, "/.well-known/matrix/server")).status == 404


def test_names_with_addresses_and_ports_lead_there() -> None:
    world = World()
    assert world.server("10.1.2.3").host.address == Address("10.1.2.3", 8448)
    assert world.server("[fd00::1]:88").host.address == Address("fd00::1", 88)
    assert world.server("a.test", ip="10.9.9.9", port=1).host.address == Address("10.9.9.9", 1)
    assert world.server("b.test").host.address != world.server("c.test").host.address


async def test_one_target_can_be_answered_by_anything() -> None:
    world = World()
    server = world.server("example.org")
    server.answers["/a"] = b"{}"
    server.answers["/b"] = json_response(b"[]", 500)
    server.answers["/c"] = Fault.CLOSES
    assert (await get(world, server, "/a")).body == b"{}"
    assert (await get(world, server, "/b")).status == 500
    with pytest.raises(ConnectionLost, match="ended before an answer"):
        await get(world, server, "/c")
    assert [each.target for each in server.requests] == ["/a", "/b", "/c"]


async def test_a_renewed_certificate_is_shown_and_published() -> None:
    world = World()
    server = world.server("example.org", well_known="example.org:8448")
    before = server.document(V1)
    server.renew(world.certificate("example.org"))
    assert (await get(world, server, "/_matrix/key/v1")).body == server.document(V1) != before
    shown = await world.wire.look(server.host.address, TlsName("example.org"))
    assert shown.leaf == server.certificate.leaf


def test_the_same_seed_gives_the_same_keys() -> None:
    one, two, other = (World(seed=seed).server("a.test").keys[0] for seed in (1, 1, 2))
    assert one.verify_key == two.verify_key != other.verify_key
