"""A closed federation of 2014: who asks shows the certificate that its key document holds.

One member asks its clients for certificates by itself, one has HAProxy do it. Home
servers that show none are not disturbed by being asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.peers import proxy
from tests.peers.internet import Internet
from tests.peers.member import Member
from tests.peers.synapse import Synapse

pytestmark = [pytest.mark.peer("dnsmasq"), pytest.mark.peer("haproxy")]

_TARGET = "/_matrix/federation/v1/query/profile?user_id=%40a%3Ab"
_ASKS = 'client_certificates = "ask"'
_BELIEVES = f"""
[[listen.proxies]]
networks = ["{{ip}}"]
client_certificate_header = "{proxy.CERTIFICATE_HEADER}"
"""
_LISTED = """
[[peers]]
names = ["*.closed.test", "old.test"]
mode = "2014"
trust = "published-certificate"
client_certificate = "require"
present_certificate = {presents}
"""


def listed(presents: bool = True) -> str:
    """The others, and whether we show them our certificate."""
    return _LISTED.format(presents=str(presents).lower())


@pytest.fixture(scope="module")
def native(internet: Internet) -> Iterator[Member]:
    """Ends TLS itself, and asks."""
    name, ip = "native.closed.test", internet.ip()
    internet.dns.host_record(name, ip)
    pair = internet.ca.self_signed(name)
    member = Member(internet, name, ip=ip, pair=pair, more=_ASKS + listed())
    yield member
    member.close()


@pytest.fixture(scope="module")
def behind(internet: Internet) -> Iterator[Member]:
    """Is told by HAProxy."""
    name, ip = "behind.closed.test", internet.ip()
    internet.dns.host_record(name, ip)
    pair = internet.ca.self_signed(name)
    front = internet.haproxy(proxy.haproxy_front(ip, 8448, pair, f"{ip}:8008"))
    # HAProxy comes from the address that it goes to.
    more = _BELIEVES.format(ip="127.0.0.0/8") + listed()
    member = Member(internet, name, ip=ip, port=8008, outer=pair, more=more)
    yield member
    member.close()
    internet.end(front)


@pytest.mark.req("SEED-20", "SEED-21", "AUTH-29", "SEED-19")
@pytest.mark.parametrize("shows", ["its own", "another", "none"])
def test_only_who_shows_the_certificate_that_it_published_is_answered(
    internet: Internet, native: Member, behind: Member, shows: str
) -> None:
    name, ip = f"{shows.replace(' ', '')}.closed.test", internet.ip()
    internet.dns.host_record(name, ip)
    pair = internet.ca.self_signed(name)
    shown = internet.ca.self_signed(name) if shows == "another" else pair
    more = listed(presents=shows != "none")
    peer = Member(internet, name, ip=ip, pair=pair, shown=shown, more=more)
    try:
        for receiver in (native, behind):
            answer = peer.ask(receiver.name, "GET", _TARGET)
            assert answer["status"] == (200 if shows == "its own" else 401), answer
            assert ("(auth-client-certificate)" in receiver.log) is (shows != "its own")
        peer.send(native.name, edus=[{"edu_type": "t", "content": {"shows": shows}}])
        if shows == "its own":
            peer.until(lambda: peer.told and not peer.lanes)
        else:
            peer.until(lambda: [lane for lane in peer.lanes if "401" in lane["because"]])
    finally:
        peer.close()
    taken = {each.content["shows"] for each in native.came("t")}
    assert taken <= {"its own"}
    assert (shows in taken) is (shows == "its own")


@pytest.mark.req("SEED-20", "AUTH-32")
@pytest.mark.peer("synapse")
def test_a_current_synapse_is_not_disturbed_by_being_asked(
    internet: Internet, native: Member, alpha: Synapse
) -> None:
    name, ip = internet.name("asks"), internet.ip()
    internet.dns.host_record(name, ip)
    member = Member(internet, name, ip=ip, pair=internet.certificate(name), more=_ASKS)
    user = f"@bob:{name}"
    path = f"/_matrix/client/v3/profile/{quote(user, safe='')}"
    assert alpha.request("GET", path, token=alpha.token).json["displayname"] == "alpha.test asks"
    alpha.send_to_device("m.test", user, {"n": 1})
    member.until(member.came)
    member.close()


@pytest.mark.req("SEED-20", "SEED-21")
@pytest.mark.peer("synapse-0.33.8")
def test_the_old_synapse_shows_none_and_is_refused_where_one_is_required(
    native: Member, behind: Member, old: Synapse
) -> None:
    for receiver in (native, behind):
        user = quote(f"@bob:{receiver.name}", safe="")
        path = f"/_matrix/client/r0/profile/{user}/displayname"
        assert old.request("GET", path, token=old.token).status != 200
        assert "old.test must show its own certificate; this client showed none" in receiver.log
        assert [each["status"] for each in receiver.asked][-1] == 401
