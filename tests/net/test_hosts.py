"""The hosts file and the localhost rule come before DNS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ranvier.net.hosts import Hosts, parse_hosts
from ranvier.protocol.records import RecordKind

A, AAAA, SRV, CNAME = RecordKind.A, RecordKind.AAAA, RecordKind.SRV, RecordKind.CNAME

FILE = """\
# a comment
127.0.0.1   localhost
::1         localhost ip6-localhost
10.0.0.1    Example.Test  other.test.  # and a comment
10.0.0.2    example.test
10.0.0.1    example.test
fd00::1     six.test
fe80::1%lo  zone.test
no-address  wrong.test
300.0.0.1   wrong.test
010.0.0.1   wrong.test
192.0.2.1
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    file = tmp_path / "hosts"
    file.write_text(FILE)
    return Hosts(str(file))


def test_names_are_folded_and_keep_the_files_order() -> None:
    names = parse_hosts(FILE)
    assert names["example.test"] == ("10.0.0.1", "10.0.0.2")
    assert names["other.test"] == ("10.0.0.1",)
    assert names["localhost"] == ("127.0.0.1", "::1")
    assert names["zone.test"] == ()
    assert "wrong.test" not in names


@pytest.mark.req("DISC-17")
def test_a_name_of_the_file_is_answered_from_it_alone(hosts: Hosts) -> None:
    answer = hosts.answer("EXAMPLE.test", A)
    assert answer is not None
    assert (answer.name, answer.addresses) == ("EXAMPLE.test", ("10.0.0.1", "10.0.0.2"))
    assert (answer.server, answer.rcode, answer.ttl) == ("hosts file", "NOERROR", 0)
    six = hosts.answer("six.test", A)
    assert six is not None
    assert (six.addresses, six.rcode) == ((), "NOERROR")


def test_other_kinds_and_other_names_are_dns_business(hosts: Hosts) -> None:
    assert hosts.answer("example.test", SRV) is None
    assert hosts.answer("example.test", CNAME) is None
    assert hosts.answer("wrong.test", A) is None
    assert hosts.answer("notlocalhost", A) is None
    assert Hosts(None).answer("example.test", A) is None


@pytest.mark.req("D28")
@pytest.mark.parametrize("name", ["localhost", "LocalHost", "a.localhost", "b.a.localhost"])
def test_localhost_is_this_machine_and_nothing_else(name: str) -> None:
    hosts = Hosts(None)
    v4, v6, srv = hosts.answer(name, A), hosts.answer(name, AAAA), hosts.answer(name, SRV)
    assert v4 is not None
    assert v6 is not None
    assert srv is not None
    assert (v4.addresses, v6.addresses) == (("127.0.0.1",), ("::1",))
    assert (srv.rcode, srv.services) == ("NXDOMAIN", ())
    assert {v4.server, v6.server, srv.server} == {"localhost rule"}


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    hosts = Hosts(str(file))
    assert hosts.answer("a.test", A) is None, "no such file is an empty one"
    file.write_text("10.0.0.1 a.test\n")
    first = hosts.answer("a.test", A)
    file.write_text("10.0.0.2 a.test\n")
    os.utime(file, (1, 1))
    second = hosts.answer("a.test", A)
    file.unlink()
    assert first is not None
    assert second is not None
    assert (first.addresses, second.addresses) == (("10.0.0.1",), ("10.0.0.2",))
    assert hosts.answer("a.test", A) is None
