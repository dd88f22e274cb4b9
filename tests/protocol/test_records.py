"""Which answers of DNS let us conclude anything."""

from __future__ import annotations

import pytest

from ranvier.protocol.records import BY_HOSTS_FILE, DnsAnswer, RecordKind


@pytest.mark.req("SRV-05")
@pytest.mark.parametrize(
    ("rcode", "answered"),
    [
        ("NOERROR", True),  # records, or certainly none of this kind
        ("NXDOMAIN", True),  # certainly no such name
        ("SERVFAIL", False),  # the server could not find out
        ("REFUSED", False),  # the server will not say
        ("FORMERR", False),
    ],
)
def test_only_an_answer_that_is_one_lets_us_conclude_anything(rcode: str, answered: bool) -> None:
    answer = DnsAnswer(name="example.org", kind=RecordKind.SRV, rcode=rcode)
    assert answer.answered is answered


@pytest.mark.req("D28")
def test_what_this_machine_said_by_itself_is_told_from_dns() -> None:
    answer = DnsAnswer(name="localhost", kind=RecordKind.A, server=BY_HOSTS_FILE)
    assert answer.local
    assert not DnsAnswer(name="localhost", kind=RecordKind.A, server="127.0.0.53:53").local
