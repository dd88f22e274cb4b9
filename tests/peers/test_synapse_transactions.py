"""Transactions to and from an unmodified current Synapse.

What reaches Synapse is read in its user's ``/sync``; what Synapse sends comes from its
user's ``sendToDevice``, which needs no room. Synapse gives an answer that is no 200,
and a dead connection, one more try here with the same id, a second later; what it still
could not deliver comes under a new id, and only ``message_id`` tells that it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ranvier.protocol.events import sign_event
from ranvier.protocol.room_versions import room_version
from ranvier.protocol.signing import SigningKey
from tests.peers.internet import Internet
from tests.peers.member import Came, Member
from tests.peers.synapse import Synapse, to_device

pytestmark = [pytest.mark.peer("synapse"), pytest.mark.peer("nginx")]

V1 = "/_matrix/federation/v1"
DIRECT = "m.direct_to_device"


@pytest.fixture(scope="module")
def ours(internet: Internet) -> Iterator[Member]:
    """One member for all: what a test looks at is what came since it began."""
    name, ip = internet.name("lane"), internet.ip()
    internet.dns.host_record(name, ip)
    member = Member(internet, name, ip=ip, pair=internet.certificate(name))
    yield member
    member.close()


def signed_event(ours: Member, room_id: str, n: int) -> dict[str, Any]:
    """An event of a user of ours, in a room of version 11."""
    event = {
        "type": "m.room.message",
        "room_id": room_id,
        "sender": f"@bob:{ours.name}",
        "origin_server_ts": 1_700_000_000_000 + n,
        "depth": 1,
        "auth_events": [],
        "prev_events": [],
        "content": {"n": n},
    }
    key = SigningKey(ours.key_id, ours.seed)
    return dict(sign_event(event, room_version("11"), ours.name, key))


@pytest.mark.req("EDU-07", "TXN-01", "TXN-02", "TXN-04", "TXN-08")
@pytest.mark.parametrize("peer", ["alpha", "beta"])
def test_synapse_takes_our_transactions_in_order_and_our_lane_settles(
    ours: Member, peer: str, request: pytest.FixtureRequest
) -> None:
    synapse: Synapse = request.getfixturevalue(peer)
    user = f"@carol:{synapse.server_name}"
    token = synapse.register("carol")
    sender, count = f"@bob:{ours.name}", 120  # two transactions
    began = len(ours.told)
    ours.send(
        synapse.server_name,
        edus=[to_device(sender, user, f"m{n}", {"n": n}) for n in range(count)],
    )
    ours.until(lambda: len(ours.told) > began and not ours.lanes)
    assert [each["outcome"] for each in ours.told[began:]] == ["delivered", "delivered"]
    events = synapse.inbox(token)
    assert [each["content"]["n"] for each in events] == list(range(count))
    assert {each["sender"] for each in events} == {sender}


@pytest.mark.req("TXN-05", "TXN-06", "TXN-07", "TXN-16")
def test_events_of_rooms_that_synapse_does_not_know_are_not_mentioned(
    ours: Member, alpha: Synapse
) -> None:
    token = alpha.register("dora")
    events = [signed_event(ours, f"!unknown:{ours.name}", n) for n in range(3)]
    note = to_device(f"@bob:{ours.name}", f"@dora:{alpha.server_name}", "m", {"n": 1})
    began = len(ours.told)
    ours.send(alpha.server_name, pdus=events, edus=[note])
    ours.until(lambda: len(ours.told) > began and not ours.lanes)
    [told] = ours.told[began:]
    assert told["outcome"] == "delivered"
    assert list(told["results"].values()) == ["not mentioned"] * 3
    assert [each["content"] for each in alpha.inbox(token)] == [{"n": 1}]


@pytest.mark.req("TXN-09", "TXN-20", "EDU-07")
@pytest.mark.parametrize("failing", ["", "again", "cut"], ids=["at once", "after 500", "after cut"])
def test_what_synapse_sends_arrives_once_and_in_order(
    alpha: Synapse, ours: Member, failing: str
) -> None:
    sends, came = len(ours.sends), len(ours.came())
    ours.fail(failing)
    for n in range(4):
        alpha.send_to_device("m.test", f"@bob:{ours.name}", {"n": n})
    ours.until(lambda: len(ours.came()) >= came + 4)
    taken = ours.came()[came:]
    assert {(each.origin, each.type) for each in taken} == {(alpha.server_name, DIRECT)}
    assert [number(ours, each) for each in taken] == [0, 1, 2, 3]
    first, second = ours.sends[sends:][:2]
    assert first["status"] == (500 if failing == "again" else 200)
    assert (first["target"] == second["target"]) is bool(failing)  # one id, handled once


@pytest.mark.req("TXN-09", "EDU-07")
def test_what_synapse_sends_survives_our_death_before_the_answer(
    alpha: Synapse, ours: Member
) -> None:
    began, mail = len(ours.came()), len(ours.mail)
    bob = f"@bob:{ours.name}"
    ours.fail("kill")
    alpha.send_to_device("m.test", bob, {"n": 0})
    ours.revive()
    alpha.send_to_device("m.test", bob, {"n": 1})
    ours.until(lambda: number(ours, ours.came()[-1]) == 1, meanwhile=alpha.server_name)
    # If we were away for longer than its one retry, it comes under two transaction ids.
    taken = ours.came()[began:]
    assert len({each.key for each in taken}) == len(taken)
    assert [each[bob]["*"]["n"] for each in ours.mail[mail:]] == [0, 1]


@pytest.mark.req("TXN-19")
def test_synapse_goes_on_at_once_when_it_hears_from_us(alpha: Synapse, ours: Member) -> None:
    sends, came = len(ours.sends), len(ours.came())
    ours.fail(*["again"] * 9)
    alpha.send_to_device("m.test", f"@bob:{ours.name}", {"n": 0})
    ours.until(lambda: len(ours.sends[sends:]) >= 2 and "status" in ours.sends[-1])
    ours.fail()
    ours.until(lambda: len(ours.came()) > came, meanwhile=alpha.server_name)
    [taken] = ours.came()[came:]
    ids = [each["target"] for each in ours.sends[sends:]]
    assert ids[0] == ids[1] != ids[-1]  # given up after two, and sent anew
    assert taken.txn_id in ids[-1]


@pytest.mark.req("D14-02")
def test_a_client_of_synapse_sees_the_profile_that_we_answer(alpha: Synapse, ours: Member) -> None:
    user = quote(f"@bob:{ours.name}", safe="")
    profile = alpha.request("GET", f"/_matrix/client/v3/profile/{user}", token=alpha.token)
    assert profile.status == 200
    assert profile.json["displayname"] == "alpha.test asks"
    target = f"{V1}/query/profile?user_id=%40bob%3A{ours.name}"
    assert [each["status"] for each in ours.asked if each["target"] == target] == [200]


def number(ours: Member, came: Came) -> int:
    """Which of the messages to bob it is."""
    return int(came.content["messages"][f"@bob:{ours.name}"]["*"]["n"])
