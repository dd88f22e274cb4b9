"""Real proxies in front of us: what was signed is what comes out behind them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.peers import proxy
from tests.peers.internet import Internet
from tests.peers.member import Member
from tests.peers.synapse import Synapse

pytestmark = [pytest.mark.peer("haproxy"), pytest.mark.peer("nginx")]

_V1 = "/_matrix/federation/v1"


@pytest.fixture(scope="module", params=["haproxy", "nginx"])
def proxied(internet: Internet, request: pytest.FixtureRequest) -> Iterator[Member]:
    """A member that speaks plain HTTP, behind a real proxy that ends TLS."""
    name, ip = internet.name(request.param), internet.ip()
    internet.dns.host_record(name, ip)
    pair = internet.certificate(name)
    if request.param == "nginx":
        front = internet.nginx(proxy.reverse_proxy(ip, 8448, pair, f"{ip}:8008"))
    else:
        front = internet.haproxy(proxy.haproxy_front(ip, 8448, pair, f"{ip}:8008"))
    member = Member(internet, name, ip=ip, port=8008, outer=pair)
    yield member
    member.close()
    internet.end(front)


@pytest.mark.peer("dnsmasq")
@pytest.mark.req("AUTH-03", "AUTH-05", "API-02")
def test_targets_come_through_a_proxy_as_they_were_signed(asker: Member, proxied: Member) -> None:
    for target in (
        f"{_V1}/query/a%2Fb?x=%2F%3a+y",
        f"{_V1}/query/a%2fb?",
        f"{_V1}/query/profile?user_id=@a+b:{proxied.name}&&z=",
        f"{_V1}/echo/%2e%2E/!r%3Ax//y%25?",
        f"{_V1}/echo/a%20b%C3%A9;v=1,2/?a=?b",
    ):
        answer = asker.ask(proxied.name, "GET", target)
        assert answer["status"] == 200, (target, answer, proxied.log[-800:])
        assert proxied.asked[-1]["target"] == target
        assert asker.forge(proxied.name, "GET", target)["status"] == 401
    content = {"b": [1, {"": None}], "a": "é\u0000\U0001f600"}
    target = f"{_V1}/echo/%2F"
    said = asker.ask(proxied.name, "POST", target, content)["body"]
    assert said == {"origin": asker.name, "target": target, "content": content}
    big = {"x": "y" * 3_000_000}
    assert asker.forge(proxied.name, "PUT", target, big)["status"] == 401
    asker.send(proxied.name, edus=[{"edu_type": "t", "content": {"n": 1}}])
    proxied.until(proxied.came)
    [came] = proxied.came()
    assert (came.origin, came.content) == (asker.name, {"n": 1})


@pytest.mark.peer("synapse")
@pytest.mark.req("AUTH-02", "AUTH-03")
def test_synapse_asks_us_through_a_proxy(alpha: Synapse, proxied: Member) -> None:
    name = proxied.name
    user = quote(f"@a/b:{name}", safe="")
    profile = alpha.request("GET", f"/_matrix/client/v3/profile/{user}", token=alpha.token)
    assert profile.json["displayname"] == "alpha.test asks"
    alias = quote(f"#a/b ü?:{name}", safe="")
    found = alpha.request("GET", f"/_matrix/client/v3/directory/room/{alias}", token=alpha.token)
    assert found.json["room_id"] == f"!r:{name}"
    room = quote(f"!a/b:{name}", safe="")
    join = f"/_matrix/client/v3/join/{room}?server_name={name}"
    alpha.request("POST", join, {}, token=alpha.token)
    asked = {each["target"].partition("?")[0]: each["status"] for each in proxied.asked}
    joining = f"{_V1}/make_join/%21a%2Fb%3A{name}/%40alice%3Aalpha.test"
    assert asked[joining] == 200, asked
