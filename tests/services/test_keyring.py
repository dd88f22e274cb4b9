"""Fetching keys by today's rule: examined, kept, cached, joined, and a reason for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from ranvier.errors import ConnectionLost, PeerFault, TimedOut, Unreachable
from ranvier.limits import DAY_MS, WEEK_MS, Limits, Ms
from ranvier.protocol.keylife import KeyVerdict
from ranvier.protocol.keys import KeyVersion
from ranvier.protocol.routes import Mode
from ranvier.protocol.signing import generate_signing_key
from ranvier.services.trust import TrustRule
from ranvier.world.certs import Flaw
from ranvier.world.faults import Fault
from ranvier.world.world import World
from tests.services.keyrig import IP, KEY, NAME, OTHER_KEY, Peer, keyring, name, resigned


@pytest.mark.req("KEYF-01", "KEYF-02", "KEY2-13")
async def test_a_healthy_server_gives_its_key_with_a_trail() -> None:
    world = World()
    peer = Peer(world)
    fetched = await keyring(world).fetch(name())
    (outcome,) = fetched.outcomes
    assert outcome.verdict is KeyVerdict.GOOD
    assert outcome.key == KEY.verify_key
    assert (fetched.source, fetched.version) == ("origin", KeyVersion.V2)
    assert peer.asked == ["/_matrix/key/v2/server"]
    assert [step.what for step in fetched.trail.steps][-2:] == ["key-fetch", "key-document"]
    conditions = fetched.trail.of("key-document")[0].evidence["conditions"]
    assert {"key-name-matches", "key-self-signed"} <= {each["id"] for each in conditions}


@pytest.mark.req("KEYF-06", "SEC-08", "D7")
async def test_a_document_of_a_year_lives_seven_days_from_its_fetch() -> None:
    world = World()
    peer = Peer(world)
    peer.life_ms = 365 * DAY_MS
    ring = keyring(world)
    fetched = await ring.fetch(name())
    assert fetched.lives_until == fetched.fetched_at + WEEK_MS
    world.clock.advance(WEEK_MS / 1000 - 1)
    assert (await ring.fetch(name())).source == "memory"
    world.clock.advance(2)
    assert (await ring.fetch(name())).source == "origin"
    assert len(peer.asked) == 2


async def test_memory_answers_first_then_the_store_then_the_origin() -> None:
    world = World()
    peer = Peer(world)
    ring = keyring(world)
    assert (await ring.fetch(name())).source == "origin"
    assert (await ring.fetch(name())).source == "memory"
    assert (await keyring(world).fetch(name())).source == "store"
    assert (await ring.fetch(name(), fresh=True)).source == "origin"
    assert len(peer.asked) == 2


@pytest.mark.req("KEYF-14", "D6")
async def test_a_newer_direct_document_replaces_the_request_view_even_if_it_says_less() -> None:
    world = World()
    peer = Peer(world)
    peer.keys, peer.life_ms = (KEY, OTHER_KEY), 7 * DAY_MS
    ring = keyring(world)
    await ring.fetch(name())
    peer.keys, peer.life_ms = (OTHER_KEY,), 3600_000
    world.clock.advance(60)
    fetched = await ring.fetch(name(), key_ids=(KEY.key_id,), fresh=True)
    assert {each.key_id: each.verdict for each in fetched.outcomes} == {
        OTHER_KEY.key_id: KeyVerdict.GOOD,
        KEY.key_id: KeyVerdict.UNKNOWN,
    }
    assert (await keyring(world).fetch(name())).document.verify_keys == (OTHER_KEY.verify_key,)
    kept = (await world.store.keys.load([NAME]))[NAME]
    assert KEY.key_id in {key_id for each in kept for key_id, _ in each.keys}, "events need it"


@pytest.mark.req("KEYF-15", "D8")
async def test_a_known_key_id_with_other_bytes_is_an_alarm_and_requests_use_the_newest() -> None:
    world = World()
    peer = Peer(world)
    ring = keyring(world)
    await ring.fetch(name())
    changed = generate_signing_key(b"x" * 32, "a_peer")
    peer.keys = (changed,)
    fetched = await ring.fetch(name(), fresh=True)
    assert [each.id for each in fetched.alarms] == ["key-bytes-changed"]
    assert fetched.trail.of("key-document")[0].answer.startswith("yes, but not all is well")
    assert fetched.outcomes[0].key == changed.verify_key
    kept = (await world.store.keys.load([NAME]))[NAME]
    assert {key for each in kept for _, key in each.keys} == {
        KEY.verify_key.key,
        changed.verify_key.key,
    }


@pytest.mark.req("KEYF-15", "D8")
async def test_the_alarm_of_other_bytes_does_not_fall_silent() -> None:
    world = World()
    peer = Peer(world)
    ring = keyring(world)
    await ring.fetch(name())
    peer.keys = (generate_signing_key(b"x" * 32, "a_peer"),)
    world.clock.advance(60)
    for fetched in (
        await ring.fetch(name(), fresh=True),
        await ring.fetch(name(), fresh=True),
        await ring.fetch(name()),
        await keyring(world).fetch(name()),
    ):
        assert [each.id for each in fetched.alarms] == ["key-bytes-changed"], fetched.source
        assert fetched.outcomes[0].good


@pytest.mark.req("KEYF-16")
async def test_a_key_of_31_bytes_spoils_only_itself() -> None:
    world = World()
    peer = Peer(world)
    document = v2(peer)
    peer.body = resigned(
        document,
        lambda content: {
            **content,
            "verify_keys": content["verify_keys"] | {"ed25519:short": {"key": "AAAA"}},
        },
        KEY,
    )
    fetched = await keyring(world).fetch(name())
    verdicts = {each.key_id: each.verdict for each in fetched.outcomes}
    assert verdicts == {KEY.key_id: KeyVerdict.GOOD, "ed25519:short": KeyVerdict.UNUSABLE}


@pytest.mark.req("KEYF-03")
async def test_unknown_members_are_part_of_what_was_signed() -> None:
    world = World()
    peer = Peer(world)
    peer.body = resigned(v2(peer), lambda content: {**content, "x": {"y": 1}}, KEY)
    fetched = await keyring(world).fetch(name())
    assert fetched.document.content["x"] == {"y": 1}
    assert fetched.document.body == peer.body


@pytest.mark.req("KEYF-01", "KEYF-02")
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (
            lambda d: resigned(d, lambda c: {**c, "server_name": "evil.example"}, KEY),
            "key-name-matches",
        ),
        (lambda d: resigned(d, lambda c: c, OTHER_KEY), "key-self-signed"),
        (lambda d: resigned(d, lambda c: c), "key-signatures-present"),
        (
            lambda d: d.replace(b'"valid_until_ts":1', b'"valid_until_ts":2'),
            "key-signatures-verify",
        ),
        (lambda d: b"<html>", "json-not-json"),
        (lambda d: b"[" * 10_000, "json-too-deep"),
        (lambda d: b"[]", "json-not-object"),
    ],
)
async def test_a_document_that_does_not_hold_is_refused_with_its_reason_and_not_kept(
    spoil: object, code: str
) -> None:
    world = World()
    peer = Peer(world)
    peer.body = spoil(v2(peer))  # type: ignore[operator] # see the table
    ring = keyring(world)
    with pytest.raises(PeerFault) as caught:
        await ring.fetch(name())
    assert caught.value.code == code
    assert caught.value.trail.of("key-fetch")
    assert (await world.store.keys.load([NAME]))[NAME] == ()
    peer.body = None
    assert (await ring.fetch(name())).source == "origin"


async def test_an_answer_that_is_not_200_is_said_so() -> None:
    world = World()
    Peer(world).status = 404
    with pytest.raises(PeerFault) as caught:
        await keyring(world).fetch(name())
    assert caught.value.code == "answer-unsupported"


@pytest.mark.req("TLS-02", "SEC-20", "REF14-07", "D2")
async def test_a_failed_version_2_or_certificate_never_leads_to_version_1() -> None:
    world = World()
    peer = Peer(world)
    peer.status = 404
    with pytest.raises(PeerFault):
        await keyring(world).fetch(name())
    peer.show(world.certificate(NAME, flaw=Flaw.SELF_SIGNED))
    with pytest.raises(Unreachable):
        await keyring(world).fetch(name())
    assert peer.asked == ["/_matrix/key/v2/server"]


async def test_a_name_listed_as_of_2014_is_asked_for_version_1_over_a_judged_connection() -> None:
    world = World()
    peer = Peer(world)
    ring = keyring(world, TrustRule(names=(NAME,), mode=Mode.SEED))
    fetched = await ring.fetch(name())
    assert (fetched.version, peer.asked) == (KeyVersion.V1, ["/_matrix/key/v1"])
    assert fetched.document.valid_until is None
    assert fetched.lives_until == fetched.fetched_at + WEEK_MS


@pytest.mark.req("D6")
async def test_where_authorities_judge_the_connection_version_1_may_change_its_key_at_once() -> (
    None
):
    world = World()
    peer = Peer(world)
    ring = keyring(world, TrustRule(names=(NAME,), mode=Mode.SEED))
    await ring.fetch(name())
    peer.keys = (OTHER_KEY,)
    fetched = await ring.fetch(name(), fresh=True)
    assert [each.key_id for each in fetched.outcomes if each.good] == [OTHER_KEY.key_id]
    assert "key-signed-by-known" in {each.id for each in fetched.conditions if each.failed}


@pytest.mark.req("D2")
async def test_documents_of_another_rule_are_not_used() -> None:
    world = World()
    peer = Peer(world)
    await keyring(world, TrustRule(names=(NAME,), mode=Mode.SEED)).fetch(name())
    assert (await keyring(world).fetch(name())).source == "origin"
    assert peer.asked == ["/_matrix/key/v1", "/_matrix/key/v2/server"]


async def test_those_who_ask_meanwhile_share_one_fetch() -> None:
    world = World()
    peer = Peer(world)
    ring = keyring(world)
    first, second = await asyncio.gather(ring.fetch(name()), ring.fetch(name()))
    assert peer.asked == ["/_matrix/key/v2/server"]
    assert first.outcomes == second.outcomes
    assert "joined" in second.trail.steps[0].answer
    assert second.trail.of("key-document")


@pytest.mark.req("SEC-06", "SEC-07")
async def test_a_server_that_never_answers_ends_in_time_with_a_trail() -> None:
    world = World()
    Peer(world)
    world.host(IP, 8448, certificate=world.certificate(NAME), fault=Fault.HANGS)
    began = world.clock.tick()
    with pytest.raises(TimedOut) as caught:
        await keyring(world).fetch(name())
    assert world.clock.tick() - began <= world.limits.total_seconds
    assert caught.value.trail.of("key-fetch")


async def test_the_whole_fetch_has_one_limit() -> None:
    world = World()
    Peer(world)
    world.dns.delays(NAME, 4.0)
    limits = msgspec.structs.replace(Limits(), total_seconds=3.0)
    with pytest.raises(TimedOut) as caught:
        await keyring(world, limits=limits).fetch(name())
    assert world.clock.tick() <= 3.5
    assert caught.value.trail


@pytest.mark.req("SEC-07")
async def test_an_endless_document_is_cut_off() -> None:
    world = World()
    peer = Peer(world)
    peer.body = b" " * (world.limits.key_document_bytes + 1)
    with pytest.raises(ConnectionLost) as caught:
        await keyring(world).fetch(name())
    assert caught.value.code == "body-too-large"


async def test_memory_holds_only_so_many_names() -> None:
    world = World()
    peer = Peer(world)
    limits = msgspec.structs.replace(Limits(), cache_entries=0)
    ring = keyring(world, limits=limits)
    await ring.fetch(name())
    assert (await ring.fetch(name())).source == "store"
    assert len(peer.asked) == 1


async def test_memory_holds_only_so_many_bytes() -> None:
    world = World()
    Peer(world)
    one = len((await keyring(world).fetch(name())).document.body)
    for most, source in ((one, "memory"), (one - 1, "store")):
        ring = keyring(world, limits=Limits(documents_cached_bytes=most))
        await ring.fetch(name())
        assert (await ring.fetch(name())).source == source


async def test_a_kept_key_that_is_refused_by_now_spoils_nothing() -> None:
    world = World()
    Peer(world)
    ring = keyring(world)
    await ring.fetch(name())
    [kept] = (await world.store.keys.load([NAME]))[NAME]
    refused = msgspec.structs.replace(kept, keys=((KEY.key_id, b"\0" * 32),), first_seen=Ms(0))
    await world.store.keys.save([refused])
    fetched = await ring.fetch(name(), fresh=True)
    assert [each.verdict for each in fetched.outcomes] == [KeyVerdict.GOOD]


def v2(peer: Peer) -> bytes:
    return peer.document("/_matrix/key/v2/server")


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-1],  # no JSON any more
        lambda body: body.replace(b'"valid_until_ts":1', b'"valid_until_ts":9'),  # a forged life
    ],
)
async def test_a_kept_document_that_was_damaged_is_fetched_anew(
    damage: Callable[[bytes], bytes],
) -> None:
    world = World()
    Peer(world)
    await keyring(world).fetch(name())
    (stored,) = (await world.store.keys.load([NAME]))[NAME]
    hurt = World()
    peer = Peer(hurt)
    await hurt.store.keys.save([msgspec.structs.replace(stored, body=damage(stored.body))])
    fetched = await keyring(hurt).fetch(name())
    assert fetched.source == "origin"
    assert fetched.outcomes[0].good
    assert "does not hold" in fetched.trail.of("keys")[0].answer
    assert len(peer.asked) == 1
