"""Which heads are refused before anybody is asked."""

from __future__ import annotations

import pytest

from ranvier.limits import Limits
from ranvier.net.heads import Budget, Refused, check_head

HOST = (b"host", b"us.test")
LIMITS = Limits(listen_head_bytes=100, listen_head_count=2, listen_body_bytes=100)


def length(value: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", value)


def coding(value: bytes) -> tuple[bytes, bytes]:
    return (b"transfer-encoding", value)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([HOST], False),
        ([HOST, length(b"0")], True),
        ([HOST, length(b"100")], True),  # exactly the limit
        ([HOST, coding(b"chunked")], True),
        ([HOST, coding(b"Chunked")], True),  # in any case
    ],
)
def test_a_clear_head_says_whether_a_body_follows(
    headers: list[tuple[bytes, bytes]], body: bool
) -> None:
    assert check_head("1.1", b"/", headers, LIMITS) is body


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "host-not-one"),
        ([HOST, HOST], "host-not-one"),
        ([HOST, length(b"1"), length(b"1")], "framing-unclear"),
        ([HOST, length(b"-1")], "framing-unclear"),
        ([HOST, length(b"")], "framing-unclear"),
        ([HOST, length(b"1" * 21)], "framing-unclear"),
        ([HOST, length(b"101")], "body-too-large"),
        ([HOST, length(b"1"), coding(b"chunked")], "framing-unclear"),
        ([HOST, coding(b"chunked"), coding(b"chunked")], "framing-unclear"),
        ([HOST, coding(b"chunked, identity")], "framing-unclear"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(
    headers: list[tuple[bytes, bytes]], code: str
) -> None:
    with pytest.raises(Refused) as caught:
        check_head("1.1", b"/", headers, LIMITS)
    assert caught.value.code == code


@pytest.mark.parametrize("target", [b"", b"*", b"x", b"us.test:443", b"ftp://a/", b"/a b", b"/\n"])
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(Refused) as caught:
        check_head("1.1", target, [HOST], LIMITS)
    assert caught.value.code == "target-malformed"


def test_a_budget_is_spent_exactly() -> None:
    budget = Budget(LIMITS)
    budget.spend_head(50, fields=1)
    budget.spend_head(50, fields=1)
    with pytest.raises(Refused, match="too many"):
        budget.spend_head(0, fields=1)
    with pytest.raises(Refused, match="too large"):
        budget.spend_head(1)
    budget.reset()
    budget.spend_body(100)
    with pytest.raises(Refused):
        budget.spend_body(1)
    budget.reset()
    budget.pending = 100
    budget.check_pending(in_body=False)
    budget.pending = 101
    with pytest.raises(Refused):
        budget.check_pending(in_body=False)


def test_framing_may_cost_half_of_the_body_and_a_little() -> None:
    budget = Budget(LIMITS)
    budget.spend_body(100)
    budget.pending = 100 + 200 + 50
    budget.check_pending(in_body=True)
    budget.pending += 1
    with pytest.raises(Refused, match="framing"):
        budget.check_pending(in_body=True)
