"""What SRV answers mean, and the shares that weights give."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.protocol.records import DnsAnswer, Failed, RecordKind, SrvRecord
from ranvier.protocol.srv import (
    NoService,
    NotOffered,
    SrvTargets,
    SrvUnknown,
    SrvVerdict,
    judge_srv,
    weighted_order,
)


def answer(*records: SrvRecord, rcode: str = "NOERROR") -> DnsAnswer:
    return DnsAnswer(name="x", kind=RecordKind.SRV, rcode=rcode, services=records)


A = SrvRecord(10, 1, 8448, "a.example.com")
B = SrvRecord(5, 1, 8449, "b.example.com")
DOT = SrvRecord(0, 0, 0, ".")


@pytest.mark.req("SRV-04", "SRV-05", "AMB-19")
@pytest.mark.parametrize(
    ("given_answer", "verdict"),
    [
        (answer(A, B), SrvTargets((B, A))),  # ascending priority
        (answer(rcode="NXDOMAIN"), NoService("nxdomain")),
        (answer(), NoService("empty")),
        (answer(rcode="SERVFAIL"), SrvUnknown("the name server answered SERVFAIL")),
        (answer(rcode="REFUSED"), SrvUnknown("the name server answered REFUSED")),
        (
            Failed(code="dns-silent", reason="5 s without an answer"),
            SrvUnknown("nobody answered (5 s without an answer)"),
        ),
        (answer(A, rcode="SERVFAIL"), SrvUnknown("the name server answered SERVFAIL")),
        (
            answer(DOT),
            NotOffered(
                "srv-not-offered", "the only target is '.': the service is not offered here"
            ),
        ),
        (answer(DOT, A), SrvTargets((A,), ("a target '.' beside other targets is ignored",))),
    ],
)
def test_an_srv_answer_means_one_of_four_things(
    given_answer: DnsAnswer | Failed, verdict: SrvVerdict
) -> None:
    assert judge_srv(given_answer) == verdict


@pytest.mark.req("SRV-06")
@pytest.mark.parametrize(
    ("record", "word"),
    [
        (SrvRecord(0, 0, 0, "a.example.com"), "port 0"),
        (SrvRecord(0, 0, 65536, "a.example.com"), "port 65536"),
        (SrvRecord(0, 0, 1, "127.0.0.1"), "not a host name"),  # an address is no target
        (SrvRecord(0, 0, 1, "[::1]"), "not a host name"),
        (SrvRecord(0, 0, 1, "a.example.com:80"), "not a host name"),
        (SrvRecord(0, 0, 1, "127.1"), "number"),  # resolvers read an address
        (SrvRecord(0, 0, 1, "a b"), "no host"),
        (SrvRecord(0, 0, 1, "a..b"), "empty label"),
        (SrvRecord(0, 0, 1, ""), "no host"),
    ],
)
def test_a_record_that_cannot_be_used_is_left_out_and_said(record: SrvRecord, word: str) -> None:
    alone = judge_srv(answer(record))
    assert isinstance(alone, NotOffered)
    assert alone.code == "srv-not-usable"
    assert word in alone.reason
    beside = judge_srv(answer(record, A))
    assert isinstance(beside, SrvTargets)
    assert beside.records == (A,)
    assert word in beside.notes[0]


def test_an_underscore_in_a_target_is_a_host_name_to_dns() -> None:
    record = SrvRecord(0, 0, 1, "my_host.example.com")
    assert judge_srv(answer(record)) == SrvTargets((record,))


def ordered_by(records: tuple[SrvRecord, ...], draw: Callable[[int], int]) -> tuple[SrvRecord, ...]:
    places = weighted_order([(each.priority, each.weight) for each in records], draw)
    return tuple(records[place] for place in places)


def shares(records: tuple[SrvRecord, ...], draws: int = 1000) -> Counter[str]:
    chance = random.Random(7)
    return Counter(ordered_by(records, chance.randrange)[0].target for _ in range(draws))


@pytest.mark.req("SRV-01", "SEED-06", "REF14-16", "D32")
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1, 3), (250, 750)),
        ((1, 1), (500, 500)),  # D32: RFC 2782 read literally gives 667, 333
        ((0, 0), (500, 500)),
        ((0, 1), (10, 990)),  # weight 0: a small chance, not none
        ((65535, 65535), (500, 500)),
    ],
)
def test_shares_are_proportional_to_the_weights(
    weights: tuple[int, int], expected: tuple[int, int]
) -> None:
    records = tuple(SrvRecord(0, weight, 1, f"t{n}") for n, weight in enumerate(weights))
    counted = shares(records)
    assert counted["t0"] == pytest.approx(expected[0], abs=50)
    assert counted["t1"] == pytest.approx(expected[1], abs=50)
    if 0 in weights:
        assert counted["t0"] > 0


RECORDS = st.builds(
    SrvRecord,
    priority=st.integers(0, 4),
    weight=st.integers(0, 65535),
    port=st.just(1),
    target=st.sampled_from("abcdefgh"),
)


@pytest.mark.req("SRV-01", "SRV-02")
@given(st.lists(RECORDS, max_size=12).map(tuple), st.randoms(use_true_random=False))
def test_every_target_is_tried_once_and_no_priority_before_a_lower_one(
    records: tuple[SrvRecord, ...], chance: random.Random
) -> None:
    ordered = ordered_by(records, chance.randrange)
    assert Counter(ordered) == Counter(records)
    priorities = [record.priority for record in ordered]
    assert priorities == sorted(priorities)
