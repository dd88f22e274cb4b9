"""Transactions as they come in: once, item by item, in turns, and not twice when replayed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ranvier.errors import Malformed, NotValid, StoreFault, Unauthenticated
from ranvier.limits import DAY_MS, Limits
from ranvier.net.clock import SystemClock
from ranvier.protocol.canonical import JsonObject
from ranvier.protocol.edus import Edu
from ranvier.protocol.events import ParsedPdu, event_id
from ranvier.protocol.names import ServerName
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.signing import sign_json
from ranvier.services.hooks import Called, Effects, TryAgain
from ranvier.store.sqlite import SqliteStore
from tests.services.keyrig import KEY, NAME, Peer
from tests.services.receiverrig import ROOM, UNKNOWN_ROOM, Rig, authenticated, edu, typing

DAY = DAY_MS / 1000
KEPT = Limits().inbox_days * DAY


def id_of(event: dict[str, Any]) -> str:
    return event_id(event, room_version("11"))


# --- Once ---


@pytest.mark.req("TXN-05", "TXN-09", "D34")
async def test_what_comes_again_gets_the_same_answer_and_does_nothing() -> None:
    rig = Rig()
    event = rig.event()
    body = rig.transaction(pdus=(event,), edus=(edu(),))
    first = await rig.receiver.receive(authenticated(body), "t1")
    assert json.loads(first) == {"pdus": {id_of(event): {}}}
    assert await rig.receiver.receive(authenticated(body), "t1") == first
    assert (len(rig.pdus), len(rig.edus)) == (1, 1)
    assert rig.counts == {"handled": 2, "repeated": 1}


@pytest.mark.req("TXN-09")
async def test_an_id_is_the_origins_own() -> None:
    rig = Rig()
    body = rig.transaction(edus=(edu(),))
    await rig.receive(body)
    await rig.receive(body, origin="other.example")
    await rig.receive(body, "t2")
    assert len(rig.edus) == 3


@pytest.mark.req("TXN-09")
async def test_copies_that_come_at_once_are_one() -> None:
    rig, gate = Rig(), asyncio.Event()

    async def slow(edu: Edu, origin: ServerName) -> None:
        rig.edus.append(edu)
        await gate.wait()

    rig.hooks.edus["*"] = Called.of(slow)
    body = rig.transaction(edus=(edu(),))
    copies = [asyncio.ensure_future(rig.receive(body)) for _ in range(10)]
    await rig.world.clock.sleep(1)
    gate.set()
    assert await asyncio.gather(*copies) == [{}] * 10
    assert len(rig.edus) == 1
    assert rig.counts == {"handled": 1, "joined": 9}


@pytest.mark.req("TXN-09", "D35")
async def test_of_a_used_id_only_what_is_new_is_done() -> None:
    rig = Rig()
    old, new = rig.event(1), rig.event(2)
    await rig.receive(rig.transaction(pdus=(old,), edus=(edu(1),)))
    results = await rig.receive(rig.transaction(pdus=(old, new), edus=(edu(1), edu(2)), ago=1))
    assert results == {id_of(new): {}}
    assert [each.content["n"] for each in rig.edus] == [1, 2]
    assert [each.value["content"]["n"] for each in rig.pdus] == [1, 2]
    assert rig.counts["id-reused"] == 1
    assert await rig.receive(rig.transaction(pdus=(old, new), edus=(edu(1), edu(2)), ago=1))
    assert len(rig.edus) == 2


@pytest.mark.req("D34", "D35")
async def test_what_is_new_under_a_used_id_has_a_key_of_its_own() -> None:
    """Whoever did the other item under the key of this place would pass this one over."""
    rig = Rig()
    await rig.receive(rig.transaction(edus=(edu(1),)))
    tried: list[str] = []

    async def fails_once(edu: Edu, origin: ServerName, effects: Effects) -> None:
        tried.append(effects.key)
        if len(tried) == 1:
            raise TryAgain

    rig.hooks.edus["*"] = Called.of(fails_once)
    body = rig.transaction(edus=(edu(2),), ago=1)
    with pytest.raises(TryAgain):
        await rig.receive(body)
    await rig.receive(body)
    assert len({*rig.keys, *tried}) == 2
    assert tried[0] == tried[1]


# --- A captured request, sent again (D35) ---


@pytest.mark.req("D35", "TXN-09")
@pytest.mark.parametrize("after", [0.0, 60.0, DAY, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT, 400 * DAY])
@pytest.mark.parametrize("ahead", [-2 * KEPT, -KEPT, -DAY, 0.0, DAY, KEPT - 1])
async def test_a_captured_transaction_never_has_a_second_effect_of_its_edus(
    after: float, ahead: float
) -> None:
    """Whatever the clock of its sender said, and whatever was forgotten meanwhile."""
    rig = Rig()
    captured = rig.transaction(edus=(edu(), typing()), ago=-ahead)
    await rig.receive(captured)
    assert len(rig.edus) == (0 if ahead <= -KEPT else 2)
    await rig.world.clock.sleep(after)
    await rig.receive(rig.transaction(edus=(edu(2),)), "other")  # what is due is forgotten now
    before = len(rig.edus)
    for _ in range(3):
        await rig.receive(captured)
        await rig.world.clock.sleep(DAY)
    assert len(rig.edus) == before


@pytest.mark.req("D35")
async def test_an_old_transaction_still_brings_its_pdus() -> None:
    rig = Rig()
    event = rig.event()
    body = rig.transaction(pdus=(event,), edus=(edu(), edu()), ago=KEPT)
    assert await rig.receive(body) == {id_of(event): {}}
    assert (len(rig.pdus), len(rig.edus)) == (1, 0)
    assert rig.counts["edus-too-old"] == 2


@pytest.mark.req("D35")
async def test_a_clock_too_far_ahead_brings_no_edus_and_is_remembered_no_longer() -> None:
    rig = Rig()
    body = rig.transaction(edus=(edu(),), ago=-400 * DAY)
    await rig.receive(body)
    assert (rig.edus, rig.counts["edus-too-old"]) == ([], 1)
    await rig.world.clock.sleep(2 * KEPT + 1)
    await rig.receive(rig.transaction(), "other")
    await rig.receive(body)
    assert rig.counts["edus-too-old"] == 2  # forgotten, and refused again
    assert "repeated" not in rig.counts


# --- Turns ---


async def test_the_transactions_of_one_origin_take_turns_and_keep_their_order() -> None:
    rig = Rig()
    at_once = most = 0

    async def slow(edu: Edu, origin: ServerName) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await rig.world.clock.sleep(1)
        at_once -= 1
        rig.edus.append(edu)

    rig.hooks.edus["*"] = Called.of(slow)
    bodies = [rig.transaction(edus=(edu(n), edu(n + 1))) for n in (1, 3, 5)]
    await asyncio.gather(*(rig.receive(body, f"t{n}") for n, body in enumerate(bodies)))
    assert most == 1
    assert [each.content["n"] for each in rig.edus] == [1, 2, 3, 4, 5, 6]


async def test_too_many_of_one_origin_are_told_to_wait_and_others_are_not_slowed() -> None:
    limits = msgspec.structs.replace(Limits(), inbox_waiting_per_origin=2)
    rig, gate = Rig(limits=limits), asyncio.Event()

    async def slow(edu: Edu, origin: ServerName) -> None:
        if origin.text == NAME:
            await gate.wait()
        rig.edus.append(edu)

    rig.hooks.edus["*"] = Called.of(slow)
    body = rig.transaction(edus=(edu(),))
    waiting = [asyncio.ensure_future(rig.receive(body, f"t{n}")) for n in range(3)]
    await rig.world.clock.sleep(1)
    with pytest.raises(Unauthenticated) as refused:
        await rig.receive(body, "one too many")
    error = refused.value
    assert (error.code, error.status, error.errcode) == (
        "transactions-waiting",
        429,
        "M_LIMIT_EXCEEDED",
    )
    assert NAME not in error.public
    began = rig.world.clock.tick()
    await rig.receive(body, origin="other.example")
    assert rig.world.clock.tick() == began
    gate.set()
    await asyncio.gather(*waiting)
    await rig.receive(body, "one too many")
    assert len(rig.edus) == 5
    assert not rig.receiver._turns


async def test_a_sender_that_hangs_up_leaves_no_turn_behind() -> None:
    rig, gate = Rig(), asyncio.Event()

    async def slow(edu: Edu, origin: ServerName) -> None:
        await gate.wait()

    rig.hooks.edus["*"] = Called.of(slow)
    body = rig.transaction(edus=(edu(),))
    waiting = [asyncio.ensure_future(rig.receive(body, f"t{n}")) for n in range(2)]
    await rig.world.clock.sleep(1)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await rig.world.clock.sleep(1)
    assert not rig.receiver._turns
    gate.set()
    assert await rig.receive(body) == {}


# --- One bad item ---


@pytest.mark.req("TXN-04", "TXN-07", "D16")
async def test_one_bad_item_spoils_only_itself() -> None:
    rig = Rig()
    good, forged = rig.event(1), rig.event(2)
    forged["depth"] = 3
    odd = (b"5", b'{"room_id":"!r:x","type":"m.x"}')
    results = await rig.receive(
        rig.transaction(
            pdus=(*odd, forged, good),
            edus=(b"5", {"edu_type": "m.typing", "content": {}}, edu()),
        )
    )
    assert results.pop(id_of(good)) == {}
    assert all(each["error"] for each in results.values())
    assert id_of(forged) in results
    assert (len(rig.pdus), len(rig.edus)) == (1, 1)
    assert rig.counts["pdu-transaction-item-not-object"] == 1
    assert rig.counts["edu-transaction-item-not-object"] == 1
    assert rig.counts["edu-edu-field"] == 1


@pytest.mark.req("D37")
async def test_a_pdu_of_an_unknown_room_is_not_mentioned() -> None:
    rig = Rig()
    assert await rig.receive(rig.transaction(pdus=(rig.event(room_id=UNKNOWN_ROOM),))) == {}
    assert (rig.pdus, rig.counts) == ([], {"pdu-unknown-room": 1})


@pytest.mark.req("TXN-12")
async def test_the_authenticated_origin_counts_not_the_one_in_the_body() -> None:
    rig = Rig()
    own, foreign = typing(), typing("@u:other.example")
    await rig.receive(rig.transaction(origin="other.example", edus=(own, foreign)))
    assert [each.content["user_id"] for each in rig.edus] == [f"@u:{NAME}"]
    assert rig.counts == {"origin-differs": 1, "handled": 1, "edu-edu-sender": 1}


@pytest.mark.req("TXN-03")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "transaction-not-json"),
        (b'{"origin":"a","origin_server_ts":1}', "transaction-member-missing"),
        (b'{"origin":"a","origin_server_ts":1,"pdus":[%b]}' % b",".join([b"{}"] * 51),
         "transaction-too-many"),
    ],
)  # fmt: skip
async def test_what_is_no_transaction_is_refused_whole(body: bytes, code: str) -> None:
    rig = Rig()
    with pytest.raises(Malformed) as refused:
        await rig.receive(body)
    assert refused.value.code == code
    assert not rig.counts


@pytest.mark.req("D14-03", "D14-05", "REF14-16")
async def test_the_forms_of_2014_are_for_those_who_are_listed() -> None:
    rig = Rig()
    body = rig.transaction(edus=(edu(),)).replace(b"origin_server_ts", b"ts")
    body = body.replace(b"{", b'{"prev_ids":["a"],', 1)
    with pytest.raises(Malformed) as refused:
        await rig.receive(body)
    assert refused.value.code == "transaction-member-missing"
    assert await rig.receive(body, seed=True) == {}
    assert len(rig.edus) == 1


# --- What handlers say ---


async def one_pdu(rig: Rig, raised: BaseException | None) -> Any:
    """The result of one PDU whose handler writes, and then raises."""

    async def handler(pdu: ParsedPdu, origin: ServerName, effects: Effects) -> None:
        rig.keys.append(effects.key)
        effects.write("n", "a", b"1")
        if raised is not None:
            raise raised

    rig.hooks.pdu = Called.of(handler)
    [result] = (await rig.receive(rig.transaction(pdus=(rig.event(),)))).values()
    return result


async def test_a_handlers_effects_are_written_with_the_answer() -> None:
    rig = Rig()
    assert await one_pdu(rig, None) == {}
    assert await rig.world.store.notes.read("n", "a") == b"1"
    assert rig.keys == [f"{NAME}/t1/pdu/0"]


async def test_a_handler_that_refuses_says_why_and_writes_nothing() -> None:
    rig = Rig()
    assert await one_pdu(rig, NotValid("x-no", "not in this room")) == {"error": "not in this room"}
    assert await rig.world.store.notes.read("n", "a") is None
    assert rig.counts == {"handler-x-no": 1}


async def test_a_handler_that_fails_spoils_one_item_and_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    result = await one_pdu(rig, RuntimeError("password 123"))
    assert result == {"error": "the server failed at this item"}
    assert await rig.world.store.notes.read("n", "a") is None
    assert rig.counts == {"handler-failed": 1}
    assert "password 123" in caplog.text


@pytest.mark.parametrize("raised", [TryAgain(), StoreFault("x-disk", "no disk")])
async def test_a_handler_that_cannot_now_makes_it_come_again_whole(raised: Exception) -> None:
    rig = Rig()
    with pytest.raises(type(raised)):
        await one_pdu(rig, raised)
    assert await rig.world.store.notes.read("n", "a") is None
    assert await one_pdu(rig, None) == {}
    assert await rig.world.store.notes.read("n", "a") == b"1"
    assert rig.keys == [f"{NAME}/t1/pdu/0"] * 2


async def test_what_nobody_handles_is_taken() -> None:
    rig = Rig()
    rig.hooks.pdu, rig.hooks.edus = None, {}
    event = rig.event()
    results = await rig.receive(rig.transaction(pdus=(event,), edus=(edu(),)))
    assert (results, rig.counts) == ({id_of(event): {}}, {"no-handler": 2})


async def test_the_key_of_an_item_is_its_place() -> None:
    rig = Rig()
    await rig.receive(rig.transaction(pdus=(b"5", rig.event()), edus=(edu(1), b"5", edu(2))), "t 9")
    assert rig.keys == [f"{NAME}/t 9/{each}" for each in ("pdu/1", "edu/0", "edu/2")]


async def test_a_handler_sees_who_brought_its_item() -> None:
    rig, seen = Rig(), []

    async def handler(edu: Edu, origin: ServerName, effects: Effects) -> None:
        seen.append((effects.request.key_id, effects.request.client_certificate))

    rig.hooks.edus["*"] = Called.of(handler)
    await rig.receive(rig.transaction(edus=(edu(),)))
    assert seen == [(KEY.key_id, "not asked")]


@pytest.mark.parametrize("hook", ["room_version", "filter"])
async def test_a_hook_that_fails_spoils_one_item(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()

    async def fails(room_id: str, *more: object) -> str | None:
        if room_id == "!bad:x":
            raise KeyError(room_id)
        return "11" if hook == "room_version" else None

    setattr(rig.hooks, hook, fails)
    good = rig.event()
    body = rig.transaction(pdus=(rig.event(2, room_id="!bad:x"), good), edus=(typing(),))
    results = await rig.receive(body)
    assert results.pop(id_of(good)) == {}
    assert [each["error"] for each in results.values()] == (
        ["the server failed at this item"] if hook == "filter" else []
    )
    assert len(rig.edus) == 1
    assert rig.counts["pdu-hook-failed"] == 1
    assert "KeyError" in caplog.text


async def test_a_filter_that_fails_at_an_edu_spoils_it_alone() -> None:
    rig = Rig()

    async def fails(room_id: str, origin: ServerName) -> str | None:
        raise KeyError(room_id)

    rig.hooks.filter = fails
    assert await rig.receive(rig.transaction(edus=(typing(), edu()))) == {}
    assert [each.edu_type for each in rig.edus] == ["org.example.n"]


@pytest.mark.parametrize("hook", ["room_version", "filter"])
async def test_a_hook_that_cannot_now_makes_it_come_again_whole(hook: str) -> None:
    rig = Rig()

    async def later(*about: object) -> str | None:
        raise TryAgain

    setattr(rig.hooks, hook, later)
    with pytest.raises(TryAgain):
        await rig.receive(rig.transaction(pdus=(rig.event(),)))


# --- The store ---


@pytest.mark.req("D34")
async def test_a_store_that_fails_answers_nobody_and_the_next_copy_is_done() -> None:
    rig = Rig()
    body = rig.transaction(edus=(edu(),))

    async def breaks(edu: Edu, origin: ServerName, effects: Effects) -> None:
        effects.write("n", "a", b"1")
        rig.world.store.broken = len(rig.keys) == 0
        rig.keys.append(effects.key)

    rig.hooks.edus["*"] = Called.of(breaks)
    with pytest.raises(StoreFault):
        await rig.receive(body)
    rig.world.store.broken = False
    assert await rig.world.store.notes.read("n", "a") is None
    assert await rig.receive(body) == {}
    assert await rig.world.store.notes.read("n", "a") == b"1"
    assert rig.keys == [f"{NAME}/t1/edu/0"] * 2


@pytest.mark.req("D34")
async def test_a_statement_that_fails_writes_nothing_and_is_ours_to_mend(tmp_path: Path) -> None:
    """Answered 500, so nothing is lost: it comes again when the handler is put right."""
    store = await SqliteStore.open(tmp_path / "x.db", SystemClock())
    rig = Rig(inbox=store.inbox)
    statement = "INSERT INTO nowhere VALUES (?)"

    async def handler(edu: Edu, origin: ServerName, effects: Effects) -> None:
        effects.write("n", "a", b"1")
        effects.execute(statement, 1)

    rig.hooks.edus["*"] = Called.of(handler)
    body = rig.transaction(edus=(edu(),))
    with pytest.raises(StoreFault) as failed:
        await rig.receive(body)
    assert failed.value.code == "effect-failed"
    assert await store.notes.read("n", "a") is None
    statement = "DELETE FROM note WHERE name = ?"
    assert await rig.receive(body) == {}
    await store.close()


@pytest.mark.req("D34")
async def test_of_two_workers_with_one_store_the_first_answer_wins_and_its_effects_alone() -> None:
    one = Rig()
    two = Rig(inbox=one.world.store.inbox)
    body = one.transaction(edus=(edu(),))
    ready = asyncio.Barrier(2)
    for each, rig in (("one", one), ("two", two)):

        async def handler(edu: Edu, _: ServerName, effects: Effects, name: str = each) -> None:
            effects.write("n", name, b"1")
            await ready.wait()

        rig.hooks.edus["*"] = Called(handler, True)
    await asyncio.gather(one.receive(body), two.receive(body))
    notes = one.world.store.notes
    written = [await notes.read("n", each) for each in ("one", "two")]
    assert sorted(written, key=str) == sorted([b"1", None], key=str)


# --- Who else is asked ---


@pytest.mark.req("TXN-22")
async def test_what_a_third_server_signed_is_taken_from_whoever_brings_it() -> None:
    rig = Rig()
    rig.world.dns.address("third.example", "10.0.0.3")
    certificate = rig.world.certificate("third.example")
    rig.world.host("10.0.0.3", 8448, certificate=certificate, serves=rig.peer._serve)
    rig.peer.document = Third(rig.peer).document  # type: ignore[method-assign] # another speaks
    event = rig.event(name="third.example", room_id=ROOM)
    assert await rig.receive(rig.transaction(pdus=(event,))) == {id_of(event): {}}
    assert rig.pdus[0].sender == "@u:third.example"


class Third:
    """The same keys under another name."""

    def __init__(self, peer: Peer) -> None:
        self._plain = peer.document
        self._clock = peer.world.clock

    def document(self, target: str) -> bytes:
        from_peer = json.loads(self._plain(target))
        from_peer["server_name"] = "third.example"
        from_peer.pop("signatures")
        return msgspec.json.encode(sign_json(from_peer, "third.example", KEY))


async def test_servers_that_do_not_answer_cost_a_transaction_one_wait_and_their_own_events() -> (
    None
):
    rig = Rig()
    silent = [f"silent{n}.example" for n in range(12)]
    for place, each in enumerate(silent):
        rig.world.dns.address(each, f"10.1.0.{place + 1}")
        rig.world.dark(f"10.1.0.{place + 1}")
    relayed = tuple(rig.event(name=each) for each in silent)
    good = rig.event()
    began = rig.world.clock.tick()
    results = await rig.receive(rig.transaction(pdus=(*relayed, good)))
    assert rig.world.clock.tick() - began <= rig.limits.event_keys_seconds
    assert len(rig.pdus) == 1
    assert [each for each, said in results.items() if not said] == [rig.pdus[0].event_id]
    assert rig.counts["pdu-event-keys-late"] == len(silent)


def to_device(message_id: str) -> JsonObject:
    content = {"sender": f"@u:{NAME}", "type": "x", "message_id": message_id, "messages": {}}
    return {"edu_type": "m.direct_to_device", "content": content}


@pytest.mark.req("EDU-07")
async def test_a_message_to_devices_comes_once_whatever_transaction_brings_it() -> None:
    rig = Rig()
    await rig.receive(rig.transaction(edus=(to_device("m1"), to_device("m1"))), "t1")
    await rig.receive(rig.transaction(edus=(to_device("m1"), to_device("m2"))), "t2")
    assert [each.content["message_id"] for each in rig.edus] == ["m1", "m2"]
    assert rig.counts["edu-repeated"] == 2


@pytest.mark.req("EDU-07")
async def test_a_message_that_could_not_be_handled_may_come_again() -> None:
    rig = Rig()

    async def fails(edu: Edu, origin: ServerName) -> None:
        raise RuntimeError("not now")

    rig.hooks.edus["m.direct_to_device"] = Called.of(fails)
    await rig.receive(rig.transaction(edus=(to_device("m1"),)), "t1")
    del rig.hooks.edus["m.direct_to_device"]
    await rig.receive(rig.transaction(edus=(to_device("m1"),)), "t2")
    assert len(rig.edus) == 1


@pytest.mark.req("D34")
async def test_an_effect_that_its_table_refuses_spoils_its_own_item_alone(tmp_path: Path) -> None:
    """The same event in two transactions, and a handler that did not think of it."""
    store = await SqliteStore.open(tmp_path / "x.db", SystemClock())
    rig = Rig(inbox=store.inbox)
    insert = "INSERT INTO had_once (origin, name, forget_at) VALUES ('x', ?, 9000000000000)"

    async def handler(pdu: ParsedPdu, origin: ServerName, effects: Effects) -> None:
        effects.write("n", pdu.event_id, b"1")
        effects.execute(insert, pdu.event_id)

    rig.hooks.pdu = Called.of(handler)
    first, second = rig.event(1), rig.event(2)
    one = await rig.receive(rig.transaction(pdus=(first,)), "t1")
    [known] = one
    two = await rig.receive(rig.transaction(pdus=(first, second)), "t2")
    [new] = set(two) - {known}
    assert (two[known], two[new]) == ({"error": "the server failed at this item"}, {})
    assert await store.notes.read("n", new) == b"1"
    assert rig.counts["effect-refused"] == 1
    await store.close()


@pytest.mark.req("D34", "EDU-07")
async def test_a_message_whose_effect_is_refused_may_come_again(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "x.db", SystemClock())
    rig = Rig(inbox=store.inbox)
    insert = "INSERT INTO had_once (origin, name, forget_at) VALUES ('x', 'n', NULL)"

    async def handler(edu: Edu, origin: ServerName, effects: Effects) -> None:
        if not rig.edus:
            effects.execute(insert)
        rig.edus.append(edu)

    rig.hooks.edus["*"] = Called.of(handler)
    for txn_id in ("t1", "t2", "t3"):
        await rig.receive(rig.transaction(edus=(to_device("m1"),)), txn_id)
    assert len(rig.edus) == 2
    await store.close()


@pytest.mark.req("D35")
async def test_under_a_used_id_what_says_how_things_are_is_heard_again() -> None:
    rig = Rig()
    await rig.receive(rig.transaction(edus=(typing(), edu(1))), "t1")
    await rig.world.clock.sleep(1)
    await rig.receive(rig.transaction(edus=(typing(), edu(1))), "t1")
    assert [each.edu_type for each in rig.edus] == ["m.typing", "org.example.n", "m.typing"]


async def test_a_handler_that_does_not_end_spoils_its_own_item_alone() -> None:
    rig = Rig()

    async def hangs(pdu: ParsedPdu, origin: ServerName) -> None:
        if pdu.value["content"]["n"] == 1:
            await rig.world.clock.sleep(10**6)

    rig.hooks.pdu = Called.of(hangs)
    results = await rig.receive(rig.transaction(pdus=(rig.event(1), rig.event(2))))
    assert sorted(map(str, results.values())) == [
        "{'error': 'the server failed at this item'}",
        "{}",
    ]
    assert (
        rig.world.clock.now() - rig.world.clock._start <= rig.limits.handler_seconds * 1000 + 1000
    )
