"""Requests in a world: what goes out, what comes back, and who is told of it."""

from __future__ import annotations

import asyncio

import pytest

from ranvier.errors import (
    BackingOff,
    ConnectionLost,
    Malformed,
    PeerFault,
    RanvierError,
    Rejected,
    StoreFault,
    TimedOut,
    Unreachable,
)
from ranvier.limits import Limits
from ranvier.plugs import HttpRequest, HttpResponse
from ranvier.protocol.requests import sign_request
from ranvier.protocol.signing import generate_signing_key
from ranvier.services.client import NoBackOffs
from ranvier.world import Fault, Flaw, MatrixServer, json_response
from tests.services.clientrig import NAME, OUR_KEY, US, ClientRig
from tests.services.keyrig import SEED_RULE

ANSWER = b'{"answer":true}'


@pytest.fixture
def rig() -> ClientRig:
    return ClientRig()


@pytest.fixture
def peer(rig: ClientRig) -> MatrixServer:
    server = rig.world.server(NAME)
    server.answers["/x"] = ANSWER
    return server


async def failed(rig: ClientRig, *args: object, **more: object) -> RanvierError:
    """The error that the request ends in, with the trail of all that was done."""
    with pytest.raises(RanvierError) as caught:
        await rig.request(*args, **more)  # type: ignore[arg-type] # any of them
    assert caught.value.trail == rig.recorder.trail
    return caught.value


def sent(rig: ClientRig) -> HttpRequest:
    return rig.world.wire.requests[-1].request


# What goes out


@pytest.mark.req("AUTH-01", "AUTH-06", "API-02", "API-03", "D14-11", "REF14-15", "ERR14-05")
@pytest.mark.parametrize(
    ("method", "content", "body", "signed"),
    [
        ("GET", None, b"", None),
        ("HEAD", None, b"", None),
        ("DELETE", None, b"", None),
        ("PUT", None, b"{}", b"{}"),
        ("POST", None, b"{}", b"{}"),
        ("POST", {}, b"{}", b"{}"),
        ("PUT", {"b": [1], "a": "é"}, '{"a":"é","b":[1]}'.encode(), '{"a":"é","b":[1]}'.encode()),
        ("PUT", b'{"a":1}', b'{"a":1}', b'{"a":1}'),
    ],
)
async def test_a_request_is_signed_as_it_goes_out(
    rig: ClientRig,
    peer: MatrixServer,
    method: str,
    content: dict[str, object] | bytes | None,
    body: bytes,
    signed: bytes | None,
) -> None:
    target = "/x%2F%3a//?a=%20+&b"
    peer.answers[target] = b"{}"
    await rig.request(method, target, content=content)
    request, headers = sent(rig), dict(sent(rig).headers)
    assert (request.method, request.target, request.body) == (method, target, body)
    assert headers["Authorization"] == sign_request(
        method=method, target=target, origin=US.text, destination=NAME, content=signed, key=OUR_KEY
    )
    assert headers.get("Content-Type") == ("application/json" if body else None)


async def test_a_request_can_go_out_without_a_signature(rig: ClientRig, peer: MatrixServer) -> None:
    await rig.request("PUT", "/x", signed=False)
    assert sent(rig).headers == (("Content-Type", "application/json"),)


@pytest.mark.req("AUTH-06")
async def test_the_names_signed_are_those_before_delegation(rig: ClientRig) -> None:
    server = rig.world.server(NAME, well_known="elsewhere.example:443")
    server.answers["/x"] = ANSWER
    answer = await rig.request()
    assert sent(rig).host == "elsewhere.example:443"
    assert f'destination="{NAME}"' in dict(sent(rig).headers)["Authorization"]
    assert answer.step == "3.2"


@pytest.mark.parametrize(
    ("method", "target", "content", "code"),
    [
        ("get", "/x", None, "request-method"),
        ("CONNECT", "/x", None, "request-method"),
        ("G T", "/x", None, "request-method"),
        ("GET", "x", None, "request-target"),
        ("GET", "", None, "request-target"),
        ("GET", "*", None, "request-target"),
        ("GET", "https://a.test/x", None, "request-target"),
        ("GET", "/x y", None, "request-target"),
        ("GET", "/x#y", None, "request-target"),
        ("GET", "/x\r\nHost: a", None, "request-target"),
        ("GET", "/x\n", None, "request-target"),
        ("GET", "/é", None, "request-target"),
        ("GET", "/\x7f", None, "request-target"),
        ("GET", "/x", {}, "request-content-unexpected"),
        ("DELETE", "/x", b"{}", "request-content-unexpected"),
        ("PUT", "/x", b"", "content-not-object"),
        ("PUT", "/x", [], "content-not-object"),
        ("PUT", "/x", {"a": 1.5}, "json-not-integer"),
        ("PUT", "/x", {"a": "x" * 200}, "request-too-large"),
    ],
)
async def test_a_call_that_cannot_be_sent_is_refused(
    method: str, target: str, content: object, code: str
) -> None:
    rig = ClientRig(limits=Limits(request_bytes=100))
    rig.world.server(NAME)
    error = await failed(rig, method, target, content=content)
    assert isinstance(error, Malformed)
    assert error.code == code
    assert not rig.world.wire.attempts


# What comes back


async def test_an_answer_says_where_it_came_from(rig: ClientRig, peer: MatrixServer) -> None:
    answer = await rig.request()
    assert (answer.server_name, answer.status, answer.body) == (NAME, 200, ANSWER)
    assert answer.json == {"answer": True}
    assert answer.json is answer.json
    assert answer.step == "6"
    assert [step.what for step in answer.trail.steps][-2:] == ["dial", "request"]
    assert rig.back_offs.told == [("reached", NAME)]


@pytest.mark.req("API-09")
@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        (404, b'{"errcode":"M_UNRECOGNIZED"}', "answer-unsupported", "reached"),
        (404, b"nothing", "answer-unsupported", "reached"),
        (404, b'{"errcode":"M_NOT_FOUND"}', "answer-not-found", "reached"),
        (403, b'{"errcode":"M_FORBIDDEN"}', "answer-status", "reached"),
        (302, b"", "answer-redirect", "reached"),
        (304, b"", "answer-redirect", "reached"),
        (429, b'{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1}', "answer-status", "failed"),
        (500, b"{}", "answer-status", "failed"),
        (502, b"<html>", "answer-status", "failed"),
    ],
)
async def test_a_no_has_a_code(
    rig: ClientRig, peer: MatrixServer, status: int, body: bytes, code: str, told: str
) -> None:
    answer = HttpResponse(
        status=status, headers=(("location", "https://evil.test/"), ("Retry-After", "7")), body=body
    )
    peer.answers["/x"] = answer
    error = await failed(rig)
    assert isinstance(error, Rejected)
    assert (error.code, error.status) == (code, status)
    assert dict(error.headers)["retry-after"] == "7"
    assert error.errcode == ("" if b"M_" not in body else body.split(b'"')[3].decode())
    assert rig.back_offs.told == [(told, NAME)]
    assert len(rig.world.wire.requests) == 1


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_every_success_is_an_answer(rig: ClientRig, peer: MatrixServer, status: int) -> None:
    peer.answers["/x"] = json_response(ANSWER, status)
    assert (await rig.request()).status == status


@pytest.mark.req("API-05")
@pytest.mark.parametrize("body", [b"[]", b"", b"{", b'{"a":1,"a":2}', b'{"a":1.5}', b"\xff"])
async def test_an_answer_that_is_no_object_is_its_senders_fault(
    rig: ClientRig, peer: MatrixServer, body: bytes
) -> None:
    peer.answers["/x"] = HttpResponse(status=200, body=body)
    answer = await rig.request()
    assert answer.body == body
    with pytest.raises(PeerFault) as caught:
        _ = answer.json
    assert caught.value.code == "answer-not-json"
    assert caught.value.trail == answer.trail


async def test_the_content_type_of_an_answer_is_not_asked(
    rig: ClientRig, peer: MatrixServer
) -> None:
    headers = (("content-type", "text/html"),)
    peer.answers["/x"] = HttpResponse(status=200, headers=headers, body=ANSWER)
    assert (await rig.request()).json == {"answer": True}


@pytest.mark.req("D33")
@pytest.mark.parametrize(
    ("answer_bytes", "size", "fits"),
    [(None, 1000, True), (None, 1001, False), (1500, 1500, True), (9999, 2001, False)],
)
async def test_an_answer_is_as_large_as_the_caller_says(
    answer_bytes: int | None, size: int, fits: bool
) -> None:
    rig = ClientRig(limits=Limits(answer_bytes=1000, answer_bytes_max=2000))
    rig.world.server(NAME).answers["/x"] = b"x" * size
    if fits:
        assert len((await rig.request(answer_bytes=answer_bytes)).body) == size
        return
    error = await failed(rig, answer_bytes=answer_bytes)
    assert isinstance(error, ConnectionLost)
    assert error.code == "body-too-large"
    assert rig.back_offs.told == []


# Not reached


async def test_no_connection_is_told_to_the_back_offs(rig: ClientRig, peer: MatrixServer) -> None:
    peer.host.fault = Fault.REFUSE
    error = await failed(rig)
    assert isinstance(error, Unreachable)
    assert rig.back_offs.told == [("failed", NAME)]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault.CLOSES, ConnectionLost, "no-answer"),
        (Fault.HALF, ConnectionLost, "connection-lost"),
        (Fault.HANGS, TimedOut, "request-timeout"),
    ],
)
async def test_no_whole_answer_is_told_to_the_back_offs(
    rig: ClientRig, peer: MatrixServer, fault: Fault, kind: type[RanvierError], code: str
) -> None:
    peer.answers["/x"] = fault
    error = await failed(rig, seconds=5)
    assert isinstance(error, kind)
    assert error.code == code
    assert rig.back_offs.told == [("failed", NAME)]
    assert len(rig.world.wire.requests) == 1


async def test_a_time_out_says_how_far_it_came(rig: ClientRig, peer: MatrixServer) -> None:
    peer.answers["/x"] = Fault.HANGS
    assert "what became of it is unknown" in (await failed(rig, seconds=5)).message
    assert rig.world.clock.tick() == pytest.approx(5, abs=0.1)
    peer.host.fault = Fault.BLACK_HOLE
    assert "there was no connection" in (await failed(rig, seconds=5)).message


async def test_who_is_held_off_from_is_not_asked(rig: ClientRig, peer: MatrixServer) -> None:
    rig.back_offs.hold(NAME)
    error = await failed(rig)
    assert isinstance(error, BackingOff)
    assert (error.code, error.until, error.because) == ("backing-off", 1, "it is tired")
    assert not rig.world.wire.attempts
    assert (await rig.request(insist=True)).status == 200
    assert rig.back_offs.told == [("reached", NAME)]


async def test_without_back_offs_nobody_is_held_off_from() -> None:
    nobody = NoBackOffs()
    assert await nobody.of(NAME) is None
    await nobody.failed(NAME, "whatever")
    await nobody.reached(NAME)


# Several at once


async def test_of_one_destination_so_many_are_asked_at_once() -> None:
    rig = ClientRig(limits=Limits(requests_per_destination=2))
    peer, other = rig.world.server(NAME), rig.world.server("other.example")
    peer.answers["/x"] = other.answers["/x"] = ANSWER
    peer.host.answer_seconds = 1
    began = rig.world.clock.tick()
    await asyncio.gather(*(rig.request() for _ in range(6)), rig.request(name="other.example"))
    assert rig.world.clock.tick() - began == pytest.approx(3, abs=0.01)


async def test_waiting_for_a_turn_counts_and_says_nothing_of_the_destination() -> None:
    rig = ClientRig(limits=Limits(requests_per_destination=1))
    rig.world.server(NAME).host.answer_seconds = 10
    first = asyncio.create_task(rig.request(seconds=20))
    await rig.world.clock.sleep(1)
    error = await failed(rig, seconds=3)
    assert error.code == "request-timeout"
    assert "waited for its turn" in error.message
    assert rig.back_offs.told == []
    with pytest.raises(Rejected):
        await first
    assert rig.back_offs.told == [("reached", NAME)]


async def test_a_store_that_cannot_note_a_failure_does_not_hide_it(
    rig: ClientRig, peer: MatrixServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(name: str, because: str) -> None:
        raise StoreFault("store-full", "the disk is full")

    monkeypatch.setattr(rig.back_offs, "failed", broken)
    peer.host.fault = Fault.REFUSE
    error = await failed(rig)
    assert isinstance(error, Unreachable)
    assert error.trail.of("back-off")[0].answer == "the disk is full"


# Names that are judged by their published certificate


@pytest.fixture
def seed_rig() -> ClientRig:
    return ClientRig(SEED_RULE)


def seed_peer(rig: ClientRig) -> MatrixServer:
    server = rig.world.server(NAME, certificate=rig.world.certificate(NAME, flaw=Flaw.SELF_SIGNED))
    server.answers["/x"] = ANSWER
    return server


@pytest.mark.req("SEED-14", "SEED-16")
async def test_a_request_goes_only_over_a_connection_with_the_published_certificate(
    seed_rig: ClientRig,
) -> None:
    server = seed_peer(seed_rig)
    assert (await seed_rig.request()).status == 200
    assert [each.target for each in server.requests] == ["/_matrix/key/v1", "/x"]
    assert [each.trusted for each in seed_rig.world.wire.attempts] == ["first-contact", "pinned"]


@pytest.mark.req("SEED-18")
async def test_a_renewed_certificate_is_accepted_if_an_accepted_key_vouches_for_it(
    seed_rig: ClientRig,
) -> None:
    server = seed_peer(seed_rig)
    await seed_rig.request()
    server.renew(seed_rig.world.certificate(NAME, flaw=Flaw.SELF_SIGNED))
    server.host.keeps_alive = False
    await seed_rig.request()  # over the connection that was open, with the old leaf
    answer = await seed_rig.request()
    assert answer.status == 200
    assert "tls-pin-mismatch" in [step.code for step in answer.trail.of("dial")]


@pytest.mark.req("SEED-14", "AUTH-28", "SEED-18")
async def test_a_man_in_the_middle_gets_no_request(seed_rig: ClientRig) -> None:
    server = seed_peer(seed_rig)
    server.host.keeps_alive = False
    await seed_rig.request()
    other = MatrixServer(
        seed_rig.world.clock,
        NAME,
        (generate_signing_key(b"m" * 32, "a_mallory"),),
        seed_rig.world.certificate(NAME, flaw=Flaw.SELF_SIGNED),
    )
    address = server.host.address
    seed_rig.world.host(address.ip, address.port, certificate=other.certificate, serves=other.serve)
    error = await failed(seed_rig)
    assert isinstance(error, Unreachable)
    assert "tls-pin-mismatch" in [step.code for step in error.trail.of("dial")]
    assert [each.target for each in other.requests] == ["/_matrix/key/v1"]
    assert all("Authorization" not in dict(each.headers) for each in other.requests)
