"""Signed requests to unmodified current Synapse servers.

Synapse says whether it took a signature: 401 is no, all else is yes. So that a yes
means something, each request is sent a second time, signed by another key under the
same key id, and must then be a no.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.peers import scripted
from tests.peers.internet import Internet
from tests.peers.member import Member
from tests.peers.synapse import Synapse

pytestmark = [pytest.mark.peer("synapse"), pytest.mark.peer("nginx")]

_V1 = "/_matrix/federation/v1"
_VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "requests.json").read_text())
_TAKES_ANY_OBJECT = f"{_V1}/user/keys/query"

TARGETS = [
    (each["method"], each["target"])
    for each in _VECTORS["vectors"]
    if each["target"].startswith((f"{_V1}/event/", f"{_V1}/state/", f"{_V1}/backfill/"))
    and each["id"] != "slash-plain"  # not an endpoint of Synapse
]
TARGETS += [
    ("GET", f"{_V1}/state/%21a%2Fb%3Aalpha.test?"),  # an empty query
    ("GET", f"{_V1}/state/%21a:alpha.test??"),
    ("GET", f"{_V1}/state/!a%3aalpha.test?event_id=%24a%2Fb+c&event_id=%24d"),
    ("GET", f"{_V1}/query/profile?user_id=@a+b:alpha.test"),
    ("GET", f"{_V1}/query/profile?user_id=@a%20b:alpha.test"),
    ("GET", f"{_V1}/query/profile?user_id=@a%2Bb:alpha.test&field="),
    ("GET", f"{_V1}/query/profile?&user_id=%40a%3Aalpha.test&&x=?/:@"),
    ("PUT", f"{_V1}/send/a%2Fb%3A+?"),
    ("PUT", f"{_V1}/send/a/?x"),
]
"""Those of the vectors and more, at endpoints of Synapse that judge signatures."""

CONTENTS = {each["id"]: each["canonical"] for each in _VECTORS["vectors"] if each.get("canonical")}


def lobby(synapse: Synapse) -> str:
    """A public room, #lobby; its id."""
    body = {"visibility": "public", "room_alias_name": "lobby", "name": "Lobby"}
    made = synapse.request(
        "POST",
        "/_matrix/client/v3/createRoom",
        {**body, "preset": "public_chat"},
        token=synapse.token,
    )
    return str(made.json["room_id"])


@pytest.mark.req("AUTH-01", "AUTH-02", "AUTH-03", "AUTH-06", "AUTH-14", "API-01", "API-02")
@pytest.mark.parametrize("peer", ["alpha", "beta"])
def test_synapse_answers_our_signed_requests_whichever_way_it_is_found(
    asker: Member, peer: str, request: pytest.FixtureRequest
) -> None:
    synapse: Synapse = request.getfixturevalue(peer)
    name = synapse.server_name
    room = lobby(synapse)
    step = {"alpha": "4", "beta": "3.2"}[peer]

    alice = quote(f"@alice:{name}", safe="")
    profile = asker.ask(name, "GET", f"{_V1}/query/profile?user_id={alice}")
    assert (profile["status"], profile["step"]) == (200, step)
    assert profile["body"]["displayname"] == "alice"

    alias = quote(f"#lobby:{name}", safe="")
    found = asker.ask(name, "GET", f"{_V1}/query/directory?room_alias={alias}")
    assert found["body"]["room_id"] == room

    listed = asker.ask(name, "GET", f"{_V1}/publicRooms?limit=9&include_all_networks=false")
    searched = asker.ask(
        name,
        "POST",
        f"{_V1}/publicRooms",
        {"limit": 9, "filter": {"generic_search_term": "lobby"}},
    )
    for answer in (listed, searched):
        assert [each["room_id"] for each in answer["body"]["chunk"]] == [room]

    nobody = asker.ask(name, "GET", f"{_V1}/query/profile?user_id=%40nobody%3A{name}")
    assert (nobody["status"], nobody["code"]) == (404, "answer-not-found")
    unsupported = asker.ask(name, "GET", f"{_V1}/nothing/here")
    assert (unsupported["status"], unsupported["code"]) == (404, "answer-unsupported")


def insist_taken(asker: Member, name: str, method: str, target: str, content: Any) -> None:
    """Synapse takes our signature, and would not take another's."""
    forged = asker.forge(name, method, target, content)
    assert (forged["status"], forged["errcode"]) == (401, "M_UNAUTHORIZED"), forged
    answer = asker.ask(name, method, target, content)
    assert answer["status"] not in (0, 401), answer


@pytest.mark.req("AUTH-03", "AUTH-05", "TV-08")
@pytest.mark.parametrize(("method", "target"), TARGETS, ids=lambda each: str(each)[23:] or "-")
def test_synapse_reads_each_target_as_we_signed_it(
    asker: Member, alpha: Synapse, method: str, target: str
) -> None:
    insist_taken(asker, alpha.server_name, method, target, {} if method == "PUT" else None)


@pytest.mark.req("AUTH-02", "AUTH-04", "TV-09")
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_synapse_reads_each_content_as_we_signed_it(
    asker: Member, alpha: Synapse, content: str
) -> None:
    insist_taken(asker, alpha.server_name, "POST", _TAKES_ANY_OBJECT, content)


# --- Keys of ours that may not sign requests any more ---

_RETIRED = """
[[signing.old_keys]]
key_id = "{key_id}"
key = "{key}"
expired_ts = 1700000000000
"""


@pytest.mark.req("AUTH-20", "KEY2-07")
def test_a_request_signed_by_a_retired_key_is_refused_by_us_and_by_synapse(
    internet: Internet, alpha: Synapse, asker: Member
) -> None:
    name, ip = internet.name("retired"), internet.ip()
    internet.dns.host_record(name, ip)
    old_key = scripted.new_key("a_retired")
    listed = {"key_id": scripted.key_id(old_key), "key": scripted.public(old_key)}
    pair = internet.certificate(name)
    retired = Member(internet, name, ip=ip, pair=pair, more=_RETIRED.format(**listed))
    try:
        for key, taken in ((old_key, False), (retired.key, True)):
            assert judged(internet, asker, alpha, name, key) == (taken, taken)
        assert "(request-key-old)" in asker.log
    finally:
        retired.close()


@pytest.mark.req("AUTH-20", "KEYF-07")
def test_a_request_signed_by_an_expired_key_is_refused_by_us_and_by_synapse(
    internet: Internet, alpha: Synapse, asker: Member
) -> None:
    name = internet.name("expired")
    publisher = scripted.Scripted(internet, internet.certificate(name))
    internet.dns.host_record(name, publisher.ip)
    key = scripted.new_key("a_expired")
    document = {
        "server_name": name,
        "valid_until_ts": 1_700_000_000_000,
        "verify_keys": {scripted.key_id(key): {"key": scripted.public(key)}},
        "old_verify_keys": {},
    }
    said = json.dumps(scripted.signed(document, name, key)).encode()
    for host in (name, f"{name}:8448"):
        publisher.say(host, "/_matrix/key/v2/server", said)
    try:
        assert judged(internet, asker, alpha, name, key) == (False, False)
        assert "GET /_matrix/key/v2/server" in publisher.log
        assert "(request-key-expired)" in asker.log
    finally:
        publisher.close()


def judged(
    internet: Internet, asker: Member, alpha: Synapse, name: str, key: Any
) -> tuple[bool, bool]:
    """Whether we, and whether Synapse, take a request of ``name`` that ``key`` signed."""
    assert alpha.token, "alice exists"
    taken = []
    client = internet.client(f"https://{asker.ip}:{asker.port}")
    for destination, ask in ((asker.name, client.request), (alpha.server_name, alpha.request)):
        uri = f"{_V1}/query/profile?user_id=%40alice%3A{destination}"
        header = scripted.authorization(name, destination, key, "GET", uri)
        answer = ask("GET", uri, headers={"Authorization": header})
        assert answer.status in (200, 401), answer
        taken.append(answer.status == 200)
    return taken[0], taken[1]
