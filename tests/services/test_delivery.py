"""What one attempt to deliver makes of every kind of answer, over a world's wire."""

from __future__ import annotations

import json

import msgspec
import pytest

from ranvier.deeds import ItemKind, QueuedItem, Sealed
from ranvier.limits import Ms
from ranvier.plugs import HttpResponse
from ranvier.protocol.routes import Mode
from ranvier.protocol.transactions import ItemVerdict
from ranvier.services.delivery import Courier, Delivery, DeliveryOutcome
from ranvier.services.trust import TrustBook, TrustRule
from ranvier.world import Fault
from ranvier.world.server import json_response
from tests.services.clientrig import NAME, ClientRig

TARGET = "/_matrix/federation/v1/send/t1"
BODY = b'{"origin":"us.example","origin_server_ts":1,"pdus":[]}'
SEED = TrustRule(names=(NAME,), mode=Mode.SEED)


def sealed(*event_ids: str, failures: int = 0) -> Sealed:
    items = tuple(
        QueuedItem(id=place, kind=ItemKind.PDU, event_id=each, size=1)
        for place, each in enumerate(event_ids)
    )
    return Sealed(
        destination=NAME, node="n", epoch=1, txn_id="t1", body=BODY, items=items,
        sealed_at=Ms(0), failures=failures,
    )  # fmt: skip


async def delivered(
    answer: HttpResponse | Fault | bytes | None, *event_ids: str, rule: TrustRule | None = None
) -> tuple[Delivery, ClientRig]:
    rules = (rule,) if rule else ()
    rig = ClientRig(*rules)
    server = rig.world.server(NAME)
    if answer is not None:
        server.answers[TARGET + ("/" if rule else "")] = answer
    courier = Courier(rig.client, TrustBook(rules), rig.world.clock, rig.world.limits)
    return await courier.deliver(sealed(*event_ids)), rig


@pytest.mark.req("TXN-05", "TXN-06", "API-01", "SEED-01")
async def test_a_200_is_a_delivery_with_a_result_for_each_pdu() -> None:
    answer = b'{"pdus":{"$a":{},"$b":{"error":"no"},"$z":{}}}'
    delivery, rig = await delivered(answer, "$a", "$b", "$c")
    assert delivery.outcome is DeliveryOutcome.DELIVERED
    assert {key: value.verdict for key, value in delivery.results.items()} == {
        "$a": ItemVerdict.ACCEPTED,
        "$b": ItemVerdict.ERROR,
        "$c": ItemVerdict.NOT_MENTIONED,
    }
    request = rig.world.wire.requests[-1].request
    assert (request.method, request.target, request.body) == ("PUT", TARGET, BODY)
    assert delivery.trail.of("request")


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        (b"{}", DeliveryOutcome.DELIVERED, ""),  # it says 200 and nothing of any item
        (b"null", DeliveryOutcome.LATER, "transaction-answer-pdus"),  # 2014, and not listed so
        (b"<html>", DeliveryOutcome.LATER, "transaction-answer-not-json"),  # some proxy's page
        (json_response(b'{"pdus":{}}', 202), DeliveryOutcome.LATER, "transaction-answer-status"),
        (json_response(b"{}", 400), DeliveryOutcome.REFUSED, "answered 400"),
        (json_response(b"{}", 413), DeliveryOutcome.REFUSED, "answered 413"),
        (json_response(b"<html>no certificate", 400), DeliveryOutcome.LATER, "answered 400"),
        (json_response(b"{}", 401), DeliveryOutcome.LATER, "answered 401"),
        (json_response(b"{}", 403), DeliveryOutcome.LATER, "answered 403"),
        (json_response(b"{}", 500), DeliveryOutcome.LATER, "answered 500"),
        (json_response(b"{}", 302), DeliveryOutcome.LATER, "answered 302"),
        (None, DeliveryOutcome.LATER, "answered 404"),
        (Fault.HANGS, DeliveryOutcome.LATER, "request-timeout"),
        (Fault.TOO_LARGE, DeliveryOutcome.LATER, "body-too-large"),
    ],
)
@pytest.mark.req("TXN-08")
async def test_each_answer_has_its_outcome(
    answer: HttpResponse | Fault | bytes | None, outcome: DeliveryOutcome, said: str
) -> None:
    delivery, _ = await delivered(answer, "$a")
    assert delivery.outcome is outcome
    assert said in delivery.because
    assert delivery.trail


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (json_response(b"{}", 503, (("retry-after", "90"),)), 90),
        (json_response(json.dumps({"retry_after_ms": 120_000}).encode(), 429), 120),
        (json_response(b"{}", 503), 0),
    ],
)
async def test_a_wish_to_wait_is_read_from_header_or_body(
    answer: HttpResponse, seconds: int
) -> None:
    delivery, rig = await delivered(answer)
    wish = delivery.not_before - rig.world.clock.now() if delivery.not_before else 0
    assert round(wish / 1000) == seconds


@pytest.mark.req("REF14-17", "D14-10")
async def test_a_server_of_2014_is_sent_the_slash_and_may_answer_null() -> None:
    delivery, rig = await delivered(b"null", "$a", rule=SEED)
    assert delivery.outcome is DeliveryOutcome.DELIVERED
    assert delivery.results["$a"].verdict is ItemVerdict.NOT_MENTIONED
    assert rig.world.wire.requests[-1].request.target == TARGET + "/"


async def test_a_name_that_is_listed_as_of_2014_no_more_waits_visibly() -> None:
    """It was queued under 2014's grammar, by which alone it is a name."""
    rig = ClientRig()
    courier = Courier(rig.client, TrustBook(), rig.world.clock, rig.world.limits)
    old = msgspec.structs.replace(sealed(), destination=f"{NAME}:")
    delivery = await courier.deliver(old)
    assert delivery.outcome is DeliveryOutcome.LATER
    assert "name-" in delivery.because


async def test_after_a_failure_the_server_is_found_anew() -> None:
    rig = ClientRig()
    server = rig.world.server(NAME)
    server.answers[TARGET] = b'{"pdus":{}}'
    courier = Courier(rig.client, TrustBook(), rig.world.clock, rig.world.limits)
    await courier.deliver(sealed())
    asked = len(rig.world.dns.asked)
    await courier.deliver(sealed())
    assert len(rig.world.dns.asked) == asked
    await courier.deliver(sealed(failures=1))
    assert len(rig.world.dns.asked) > asked
