"""What DNS may be asked, and which of its answers let us conclude anything."""

from __future__ import annotations

import pytest

from ranvier.errors import DnsFault
from ranvier.protocol.records import BY_HOSTS_FILE, DnsAnswer, RecordKind, checked_name


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


@pytest.mark.req("D27")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.test", ""),
        ("A.test.", ""),  # the final dot goes
        ("_matrix-fed._tcp.a.test", ""),
        ("4chan.test", ""),  # only the last label is an address
        ("127.1", "dns-name-numeric"),
        ("0x7F.1.0X", "dns-name-numeric"),
        ("a..test", "dns-name-unusable"),
        ("", "dns-name-unusable"),
        ("a b.test", "dns-name-unusable"),
        ("x" * 64 + ".test", "dns-name-unusable"),
        (".".join(["x" * 63] * 4), "dns-name-unusable"),  # 255
    ],
)
def test_only_names_that_mean_nothing_else_are_asked(name: str, code: str) -> None:
    if not code:
        assert checked_name(name) == name.removesuffix(".")
        return
    with pytest.raises(DnsFault) as refused:
        checked_name(name)
    assert refused.value.code == code
