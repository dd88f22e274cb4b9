"""The rule of 2014: the key document names the certificate of its own connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from ranvier.errors import PeerFault, StoreFault, Unreachable
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.canonical import encode_base64
from ranvier.protocol.certificates import fingerprint
from ranvier.protocol.signing import SigningKey
from ranvier.protocol.trust import Pinned, WebPki
from ranvier.services.keyring import KeyFetch
from ranvier.services.publishedcert import NOTE_KIND
from ranvier.services.trust import Pins
from ranvier.trail import Recorder
from ranvier.world.world import World
from tests.services.keyrig import (
    IP,
    KEY,
    NAME,
    OTHER_KEY,
    SEED_RULE,
    Peer,
    keyring,
    name,
    resigned,
)

Wrong = Callable[[Peer], bytes]


async def pins_in(world: World) -> Pins | None:
    kept = await world.store.notes.read(NOTE_KIND, NAME)
    return None if kept is None else msgspec.json.decode(kept, type=Pins)


@pytest.mark.req("SEED-14", "SEED-15", "REF14-12")
async def test_first_use_accepts_the_pair_and_says_so() -> None:
    world = World()
    peer = Peer(world, seed=True)
    fetched = await keyring(world, SEED_RULE).fetch(name())
    assert fetched.outcomes[0].good
    assert fetched.entered == "first use"
    assert peer.asked == ["/_matrix/key/v1"]
    pins = await pins_in(world)
    assert pins is not None
    assert pins.leaves == (fingerprint(peer.certificate.leaf),)


@pytest.mark.req("SEED-18", "SEC-20", "D1")
async def test_only_the_key_document_is_ever_asked_before_judgement() -> None:
    world = World()
    Peer(world, seed=True)
    await keyring(world, SEED_RULE).fetch(name())
    (received,) = world.wire.requests
    assert received.request.target == "/_matrix/key/v1"
    assert b"authorization" not in received.raw.lower()


@pytest.mark.req("D1")
async def test_after_first_contact_only_the_accepted_leaf_is_dialled() -> None:
    world = World()
    peer = Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    await ring.fetch(name())
    await ring.fetch(name(), fresh=True)
    assert [each.trusted for each in world.wire.attempts] == ["first-contact", "pinned"]
    trust = await ring.trust_for(name(), Recorder(world.clock.tick))
    assert trust == Pinned(frozenset({fingerprint(peer.certificate.leaf)}))


async def test_a_request_to_a_name_without_pins_fetches_its_keys_first() -> None:
    world = World()
    peer = Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    trust = await ring.trust_for(name(), Recorder(world.clock.tick))
    assert trust == Pinned(frozenset({fingerprint(peer.certificate.leaf)}))
    assert peer.asked == ["/_matrix/key/v1"]
    assert await keyring(world).trust_for(name(), Recorder(world.clock.tick)) == WebPki()


@pytest.mark.req("D1")
async def test_a_certificate_is_renewed_if_an_accepted_key_vouches_for_it() -> None:
    world = World()
    peer = Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    await ring.fetch(name())
    old = peer.certificate
    peer.show(peer.self_signed())
    peer.keys = (KEY, OTHER_KEY)
    fetched = await ring.fetch(name(), fresh=True)
    assert fetched.outcomes[0].good
    pins = await pins_in(world)
    assert pins is not None
    assert pins.leaves == (fingerprint(old.leaf), fingerprint(peer.certificate.leaf))
    assert set(pins.verify_keys()) == {KEY.key_id, OTHER_KEY.key_id}


@pytest.mark.req("REF14-12")
async def test_a_man_in_the_middle_after_first_contact_is_refused_and_changes_nothing() -> None:
    world = World()
    peer = Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    await ring.fetch(name())
    before = await pins_in(world)
    peer.show(peer.self_signed())
    peer.keys = (OTHER_KEY,)
    with pytest.raises(PeerFault) as caught:
        await ring.fetch(name(), fresh=True)
    assert caught.value.code == "key-signed-by-known"
    assert await pins_in(world) == before


@pytest.mark.req("D1")
async def test_of_two_first_contacts_at_once_only_one_is_the_first() -> None:
    world = World()
    peer = Peer(world, seed=True)
    theirs, answer = peer.certificate, peer.v1()
    ring = keyring(world, SEED_RULE)

    async def slow(request: HttpRequest) -> HttpResponse:
        peer.keys = (OTHER_KEY,)
        peer.show(peer.self_signed())  # a man in the middle steps in behind the first caller
        await world.clock.sleep(5)
        return HttpResponse(status=200, body=answer)

    world.host(IP, 8448, certificate=theirs, serves=slow)

    async def later() -> KeyFetch:
        await world.clock.sleep(2)
        return await ring.fetch(name(), fresh=True)

    first, second = await asyncio.gather(ring.fetch(name()), later(), return_exceptions=True)
    assert isinstance(first, KeyFetch)
    assert isinstance(second, PeerFault)
    assert second.code == "key-signed-by-known"
    pins = await pins_in(world)
    assert pins is not None
    assert pins.leaves == (fingerprint(theirs.leaf),)


@pytest.mark.req("D1", "SEC-20")
async def test_how_a_name_came_in_is_told_wherever_its_keys_come_from() -> None:
    world = World()
    Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    told = [await ring.fetch(name()), await ring.fetch(name())]
    told.append(await keyring(world, SEED_RULE).fetch(name()))
    assert [each.source for each in told] == ["origin", "memory", "store"]
    assert {each.entered for each in told} == {"first use"}


async def test_a_key_change_behind_the_same_certificate_needs_an_accepted_key_too() -> None:
    world = World()
    peer = Peer(world, seed=True)
    ring = keyring(world, SEED_RULE)
    await ring.fetch(name())
    peer.keys = (OTHER_KEY,)
    with pytest.raises(PeerFault) as caught:
        await ring.fetch(name(), fresh=True)
    assert caught.value.code == "key-signed-by-known"


async def test_a_configured_certificate_lets_in_no_other() -> None:
    world = World()
    peer = Peer(world, seed=True)
    rule = msgspec.structs.replace(
        SEED_RULE, leaves=frozenset({fingerprint(peer.certificate.leaf)})
    )
    fetched = await keyring(world, rule).fetch(name())
    assert fetched.entered == "configured certificate"
    assert [each.trusted for each in world.wire.attempts] == ["pinned"]
    fresh = World()
    stranger = Peer(fresh, seed=True)
    with pytest.raises(Unreachable):
        await keyring(fresh, rule).fetch(name())
    assert stranger.asked == [], "not a byte went out"


async def test_a_configured_key_lets_in_only_who_signs_with_it() -> None:
    rule = msgspec.structs.replace(SEED_RULE, verify_keys=(KEY.verify_key,))
    world = World()
    peer = Peer(world, seed=True)
    assert (await keyring(world, rule).fetch(name())).entered == "configured key"
    fresh = World()
    peer = Peer(fresh, seed=True)
    peer.keys = (OTHER_KEY,)
    with pytest.raises(PeerFault) as caught:
        await keyring(fresh, rule).fetch(name())
    assert caught.value.code == "key-signed-by-known"
    assert await pins_in(fresh) is None


@pytest.mark.req("SEC-20")
@pytest.mark.parametrize("by_key", [False, True], ids=["certificate", "key"])
async def test_what_is_configured_puts_out_who_was_let_in_before(by_key: bool) -> None:
    """A man in the middle at the first use, and then the operator learns the truth."""
    world = World()
    middle = Peer(world, seed=True)
    middle.keys = (SigningKey(KEY.key_id, OTHER_KEY.seed),)
    await keyring(world, SEED_RULE).fetch(name())
    owner = middle.self_signed()
    truth = (
        msgspec.structs.replace(SEED_RULE, verify_keys=(KEY.verify_key,))
        if by_key
        else msgspec.structs.replace(SEED_RULE, leaves=frozenset({fingerprint(owner.leaf)}))
    )
    with pytest.raises((PeerFault, Unreachable)):
        await keyring(world, truth).fetch(name())
    peer = Peer(world, seed=True)
    peer.show(owner)
    fetched = await keyring(world, truth).fetch(name())
    assert fetched.document.verify_keys == (KEY.verify_key,)
    assert fetched.entered == ("configured key" if by_key else "configured certificate")
    kept = await pins_in(world)
    assert kept is not None
    assert kept.leaves == (fingerprint(owner.leaf),)
    assert kept.verify_keys() == {KEY.key_id: KEY.verify_key}
    later = await keyring(world, SEED_RULE).fetch(name())
    assert later.entered == fetched.entered, "what was configured once outlives its line"


@pytest.mark.req("SEC-20")
async def test_a_certificate_that_is_configured_no_more_is_not_accepted() -> None:
    world = World()
    peer = Peer(world, seed=True)
    for leaf in (peer.certificate, peer.self_signed()):
        peer.show(leaf)
        rule = msgspec.structs.replace(SEED_RULE, leaves=frozenset({fingerprint(leaf.leaf)}))
        ring = keyring(world, rule)
        await ring.fetch(name(), fresh=True)
    accepted = await ring.trust_for(name(), Recorder(world.clock.tick))
    assert accepted == Pinned(frozenset({fingerprint(peer.certificate.leaf)}))


def _changed(**members: object) -> Wrong:
    return lambda peer: resigned(peer.v1(), lambda content: {**content, **members}, KEY)


def _without(member: str) -> Wrong:
    def spoil(peer: Peer) -> bytes:
        return resigned(
            peer.v1(), lambda content: {k: v for k, v in content.items() if k != member}, KEY
        )

    return spoil


def _signatures(value: object) -> Wrong:
    return lambda peer: msgspec.json.encode({**msgspec.json.decode(peer.v1()), "signatures": value})


def _one_bit(peer: Peer) -> bytes:
    content = msgspec.json.decode(peer.v1())
    signature = content["signatures"][NAME][KEY.key_id]
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    return msgspec.json.encode({**content, "signatures": {NAME: {KEY.key_id: flipped}}})


def _two_listed_one_signed(peer: Peer) -> bytes:
    both = {each.key_id: encode_base64(each.verify_key.key) for each in (KEY, OTHER_KEY)}
    return resigned(peer.v1(), lambda content: {**content, "verify_keys": both}, KEY)


@pytest.mark.req("SEED-14", "SEED-15", "REF14-08", "REF14-10")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (
            _changed(tls_certificate=encode_base64(b"another certificate")),
            "key-certificate-matches",
        ),
        (_without("tls_certificate"), "key-certificate-present"),
        (_changed(server_name="evil.example"), "key-name-matches"),
        (_without("server_name"), "key-name-present"),
        (_signatures({NAME: {}}), "key-signatures-not-empty"),
        (_signatures({"evil.example": {}}), "key-signatures-entry"),
        (_signatures({}), "key-signatures-entry"),
        (_two_listed_one_signed, "key-each-listed-signed"),
        (lambda peer: resigned(peer.v1(), lambda c: c, KEY, OTHER_KEY), "key-signers-listed"),
        (_one_bit, "key-signatures-verify"),
    ],
)
async def test_what_is_wrong_with_a_document_is_refused_with_its_own_reason(
    wrong: Wrong, code: str
) -> None:
    world = World()
    peer = Peer(world, seed=True)
    peer.body = wrong(peer)
    with pytest.raises(PeerFault) as caught:
        await keyring(world, SEED_RULE).fetch(name())
    assert caught.value.code == code
    assert await pins_in(world) is None
    assert (await world.store.keys.load([NAME]))[NAME] == ()


async def test_a_swapped_certificate_on_the_wire_is_refused() -> None:
    world = World()
    peer = Peer(world, seed=True)
    peer.named = peer.self_signed().leaf
    with pytest.raises(PeerFault) as caught:
        await keyring(world, SEED_RULE).fetch(name())
    assert caught.value.code == "key-certificate-matches"


@pytest.mark.req("REF14-09")
async def test_a_padded_certificate_is_compared_by_its_bytes() -> None:
    world = World()
    peer = Peer(world, seed=True)
    padded = encode_base64(peer.certificate.leaf)
    padded += "=" * (-len(padded) % 4)
    peer.body = _changed(tls_certificate=padded)(peer)
    assert (await keyring(world, SEED_RULE).fetch(name())).outcomes[0].good


@pytest.mark.parametrize("kept", [b"{", b'{"keys":[["ed25519:a","%"]]}', b'{"keys":[["x","AA"]]}'])
async def test_pins_that_cannot_be_read_are_our_own_fault(kept: bytes) -> None:
    world = World()
    Peer(world, seed=True)
    await world.store.notes.write(NOTE_KIND, NAME, kept)
    with pytest.raises(StoreFault) as caught:
        await keyring(world, SEED_RULE).fetch(name())
    assert caught.value.code == "pins-unreadable"
