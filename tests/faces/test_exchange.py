"""Signed requests to our own endpoints, as an ASGI server hands them over."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ranvier.errors import Malformed, NotValid, StoreFault
from ranvier.faces.answers import Answer, refused, send_answer
from ranvier.faces.asgi import FederationApp
from ranvier.faces.exchange import Exchange
from ranvier.faces.inbound import authenticate, read_body
from ranvier.limits import Limits
from ranvier.protocol.canonical import JsonObject, encode_canonical
from ranvier.protocol.edus import Edu
from ranvier.protocol.names import ServerName
from ranvier.services.bodies import BodyWork
from ranvier.services.hooks import Called, Hooks, Query, Reply, TryAgain
from ranvier.services.identity import Identity
from ranvier.services.inspector import Inspector
from ranvier.services.receiver import Receiver
from ranvier.services.trust import TrustBook, TrustRule
from tests.services.gaterig import US, Rig, signed
from tests.services.keyrig import KEY, NAME, SEED_RULE

SEND = "/_matrix/federation/v1/send/"
PROFILE = "/_matrix/federation/v1/query/profile"


class Desk:
    """An application with a gate in a world; ``edus`` are those that were handled."""

    def __init__(self, *rules: TrustRule, limits: Limits | None = None) -> None:
        self.rig = Rig(*rules, limits=limits, seed=bool(rules))
        clock, limits = self.rig.world.clock, self.rig.limits
        self.hooks = Hooks()
        self.hooks.edus["*"] = Called.of(self._edu)
        self.hooks.queries["profile"] = self._profile
        self.edus: list[Edu] = []
        self.queries: list[Query] = []
        inspector = Inspector(self.rig.ring, self.hooks, limits, clock)
        receiver = Receiver(
            self.rig.world.store.inbox,
            inspector,
            self.hooks,
            clock=clock,
            limits=limits,
            body_work=BodyWork(clock, limits),
        )
        exchange = Exchange(self.rig.gate, receiver, self.hooks, TrustBook(rules), limits)
        identity = Identity(ServerName(US), [KEY], clock=clock)
        self.app = FederationApp(identity, exchange=lambda: exchange)

    async def _edu(self, edu: Edu, origin: ServerName) -> None:
        self.edus.append(edu)

    async def _profile(self, query: Query) -> JsonObject:
        self.queries.append(query)
        return {"displayname": "Ann"}

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        pieces: int = 1,
        ours: bool = True,
        content: bytes | None = None,
    ) -> tuple[int, Any]:
        """Signed by the peer; under our own listener, or under a foreign server."""
        signs = (content or body) or None
        header = signed(method=method, target=target, content=signs)
        path, _, query = target.partition("?")
        told = {"raw_target": target.encode(), "peer_leaf": None, "local_leaf": None}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", header.encode())],
            "client": ("203.0.113.9", 1),
            **({"extensions": {"ranvier": told}} if ours else {}),
        }
        size = -(-len(body) // pieces) or 1
        cut = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": each, "more_body": n < len(cut) - 1}
            for n, each in enumerate(cut)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    def transaction(self, **changes: Any) -> bytes:
        body = {
            "origin": NAME,
            "origin_server_ts": self.rig.world.clock.now(),
            "pdus": [],
            "edus": [{"edu_type": "x", "content": {}}],
        }
        return encode_canonical(body | changes)


def error(errcode: str, text: str) -> dict[str, str]:
    return {"errcode": errcode, "error": text}


@pytest.mark.req("TXN-01", "TXN-05")
@pytest.mark.parametrize("ours", [True, False])
async def test_a_transaction_is_received_once(ours: bool) -> None:
    desk = Desk()
    body = desk.transaction()
    for _ in range(2):
        assert await desk.ask("PUT", SEND + "1", body, pieces=3, ours=ours) == (200, {"pdus": {}})
    assert len(desk.edus) == 1


@pytest.mark.req("D35", "TXN-09")
async def test_a_captured_request_passes_the_gate_again_and_has_no_second_effect() -> None:
    """A signature has no time in it; the inbox's memory and the EDUs' age have."""
    desk = Desk()
    clock, captured = desk.rig.world.clock, desk.transaction()
    for days in (0, 1, 28, 2, 30):
        await clock.sleep(days * 86_400)
        assert await desk.ask("PUT", SEND + "1", captured) == (200, {"pdus": {}})
        assert len(desk.edus) == 1
    await desk.ask("PUT", SEND + "2", desk.transaction())  # now the first is forgotten
    assert len(desk.edus) == 2
    assert await desk.ask("PUT", SEND + "1", captured) == (200, {"pdus": {}})
    assert len(desk.edus) == 2


@pytest.mark.req("UNS-01", "UNS-02")
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", SEND + "1", 405),
        ("GET", SEND + "1", 405),
        ("PUT", PROFILE, 405),
        ("OPTIONS", PROFILE, 405),
        ("PUT", SEND, 404),
        ("GET", "/_matrix/federation/v1/query/", 404),
        ("GET", "/_matrix/federation/v1/query/nothing", 404),
        ("GET", "/_matrix/federation/v1/query/profile/x", 404),
        ("PUT", "/_matrix/federation/v2/send/1", 404),
    ],
)
async def test_a_path_and_its_methods_are_known_to_everybody(
    method: str, target: str, status: int
) -> None:
    desk = Desk()
    said = await desk.ask(method, target)
    assert (said[0], said[1]["errcode"]) == (status, "M_UNRECOGNIZED")
    assert desk.rig.fetches == 0


@pytest.mark.req("D16", "TXN-03")
@pytest.mark.parametrize(
    ("target", "changes", "errcode"),
    [
        (SEND + "1", {"pdus": [{}] * 51}, "M_BAD_JSON"),
        (SEND + "1", {"edus": [{}] * 101}, "M_BAD_JSON"),
        (SEND + "1", {"pdus": {}}, "M_BAD_JSON"),
        (SEND + "1", {"origin": 5}, "M_BAD_JSON"),
        (SEND + "1", {"origin_server_ts": "now"}, "M_BAD_JSON"),
        (SEND + "1/2", {}, "M_INVALID_PARAM"),
        (SEND + "%ff", {}, "M_INVALID_PARAM"),
        (SEND + "x" * 256, {}, "M_INVALID_PARAM"),
        (SEND + "1/", {}, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_no_transaction_is_400(
    target: str, changes: dict[str, Any], errcode: str
) -> None:
    desk = Desk()
    status, said = await desk.ask("PUT", target, desk.transaction(**changes))
    assert (status, said["errcode"]) == (400, errcode)
    assert said["error"]
    assert not desk.edus


async def test_a_transaction_without_a_body_is_not_json() -> None:
    status, said = await Desk().ask("PUT", SEND + "1")
    assert (status, said["errcode"]) == (400, "M_NOT_JSON")


@pytest.mark.req("TXN-03")
async def test_a_transaction_that_is_too_large_is_413() -> None:
    limits = msgspec.structs.replace(Limits(), transaction_bytes=50)
    desk = Desk(limits=limits)
    status, said = await desk.ask("PUT", SEND + "1", desk.transaction())
    assert (status, said["errcode"]) == (413, "M_TOO_LARGE")


@pytest.mark.req("D14-07", "REF14-17")
async def test_the_path_with_a_slash_is_for_servers_of_2014() -> None:
    desk = Desk(SEED_RULE)
    assert (await desk.ask("PUT", SEND + "1/", desk.transaction()))[0] == 200
    assert (await desk.ask("PUT", SEND + "2", desk.transaction()))[0] == 200
    assert len(desk.edus) == 2


@pytest.mark.parametrize(
    ("failure", "logged"),
    [
        (TryAgain(), "a handler says later"),
        (TryAgain("the room is moving"), "the room is moving"),
        (StoreFault("x-disk", "the disk is full"), "the disk is full"),
    ],
)
async def test_what_cannot_be_taken_now_is_500_and_says_no_more(
    failure: Exception, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()

    async def handler(edu: Edu, origin: ServerName) -> None:
        raise failure

    desk.hooks.edus["*"] = Called.of(handler)
    said = await desk.ask("PUT", SEND + "1", desk.transaction())
    assert said == (500, error("M_UNKNOWN", "this cannot be taken now"))
    assert caplog.messages[-1].endswith(f": {logged}")


# --- Queries ---


async def test_a_query_has_its_arguments_and_its_origin() -> None:
    desk = Desk()
    target = f"{PROFILE}?user_id=%40a%3Ax&a=1&a=2&empty="
    assert await desk.ask("GET", target) == (200, {"displayname": "Ann"})
    [query] = desk.queries
    assert (query.query_type, query.origin.text) == ("profile", NAME)
    assert query.arguments == {"user_id": "@a:x", "a": "2", "empty": ""}


async def test_a_query_without_arguments_has_none_whoever_lost_its_question_mark() -> None:
    desk = Desk()
    for target, ours in ((PROFILE, True), (f"{PROFILE}?", True), (f"{PROFILE}?", False)):
        assert (await desk.ask("GET", target, ours=ours))[0] == 200
    assert [each.arguments for each in desk.queries] == [{}] * 3


async def test_too_many_arguments_are_refused() -> None:
    desk = Desk()
    target = PROFILE + "?" + "&".join(["a=1"] * 101)
    status, said = await desk.ask("GET", target)
    assert (status, said["errcode"]) == (400, "M_INVALID_PARAM")
    assert not desk.queries


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Reply(404, "M_NOT_FOUND", "nobody"), (404, error("M_NOT_FOUND", "nobody"))),
        (Malformed("x-id", "no user id"), (400, error("M_INVALID_PARAM", "no user id"))),
        (StoreFault("x", "disk"), (500, error("M_UNKNOWN", "this cannot be taken now"))),
        (NotValid("x", "secret"), (500, error("M_UNKNOWN", "the server failed"))),
        (KeyError("secret"), (500, error("M_UNKNOWN", "the server failed"))),
    ],
)
async def test_what_a_handler_raises(raised: Exception, expected: Any) -> None:
    desk = Desk()

    async def handler(query: Query) -> JsonObject:
        raise raised

    desk.hooks.queries["profile"] = handler
    assert await desk.ask("GET", PROFILE) == expected


@pytest.mark.parametrize("answer", [{"a": 1.5}, {"a": object()}, {"a": "\ud800"}])
async def test_an_answer_that_is_no_canonical_json_is_our_fault(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()

    async def handler(query: Query) -> JsonObject:
        found: JsonObject = answer
        return found

    desk.hooks.queries["profile"] = handler
    assert await desk.ask("GET", PROFILE) == (500, error("M_UNKNOWN", "the server failed"))
    assert "the handler of profile answered no JSON" in caplog.text


@pytest.mark.req("SEC-18")
async def test_the_log_says_more_than_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ranvier.receive")
    desk = Desk()
    said = await desk.ask("PUT", SEND + "1", b'{"a":1}', content=b'{"a":2}')
    assert said == (401, error("M_UNAUTHORIZED", "the request is not authenticated"))
    assert "request-signature-invalid" in caplog.text
    assert "PUT '/_matrix/federation/v1/send/1'" in caplog.text


# --- The request as it comes in ---


def messages(*pieces: Any) -> Any:
    left = list(pieces)

    async def receive() -> Any:
        return left.pop(0)

    return receive


async def test_a_body_is_read_no_further_than_it_may_be() -> None:
    rig = Rig()
    more = {"type": "http.request", "body": b"x" * 10, "more_body": True}
    with pytest.raises(Exception, match="more than 15") as large:
        await read_body(messages(more, more, more), 15)
    assert getattr(large.value, "status", 0) == 413
    with pytest.raises(Exception, match="left before the end") as cut:
        await read_body(messages(more, {"type": "http.disconnect"}), 15)
    assert getattr(cut.value, "code", "") == "body-cut"
    end = {"type": "http.request"}
    assert await read_body(messages(more, end), 15) == b"x" * 10
    assert rig.heard == []


async def test_under_a_foreign_server_a_body_that_dawdles_is_408() -> None:
    rig = Rig()
    clock = rig.world.clock

    async def receive() -> Any:
        await clock.sleep(10)
        return {"type": "http.request", "body": b"x", "more_body": True}

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"authorization", signed(method="PUT", target="/x", content=b"{}").encode())],
        "client": None,
    }
    with pytest.raises(Exception, match="did not come within") as slow:
        await authenticate(rig.gate, scope, receive)
    assert (getattr(slow.value, "status", 0), getattr(slow.value, "code", "")) == (
        408,
        "body-not-in-time",
    )


async def test_the_head_is_judged_before_the_body_is_read() -> None:
    rig = Rig()

    async def receive() -> Any:
        raise AssertionError("the body was read")

    scope = {"type": "http", "method": "PUT", "path": "/x", "query_string": b"", "headers": []}
    with pytest.raises(Exception, match="no X-Matrix header") as refusal:
        await authenticate(rig.gate, scope, receive)
    assert getattr(refusal.value, "code", "") == "auth-missing"


# --- Answers ---


async def test_an_answer_goes_out_whole_and_to_head_without_its_body() -> None:
    for method, expected in (("GET", b"{}"), ("HEAD", b"")):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await send_answer(Answer(200, b"{}", ((b"x-a", b"1"),)), method, send)
        start, body = sent
        assert start["headers"] == [
            (b"content-type", b"application/json"),
            (b"content-length", b"2"),
            (b"x-a", b"1"),
        ]
        assert body["body"] == expected


def test_a_refusal_is_json() -> None:
    assert refused(404, "M_X", "no") == Answer(404, b'{"errcode":"M_X","error":"no"}')
