"""How a proxy is written, and that its password shows nowhere."""

from __future__ import annotations

from base64 import b64decode

import pytest

from ranvier.errors import Malformed
from ranvier.protocol.proxy import Proxy, parse_proxy

GOOD = [
    ("http://127.0.0.1:3128", Proxy("127.0.0.1", 3128), ""),
    ("http://127.0.0.1:3128/", Proxy("127.0.0.1", 3128), ""),
    ("HTTP://proxy.internal:80", Proxy("proxy.internal", 80), ""),
    ("http://[::1]:3128", Proxy("::1", 3128), ""),
    ("http://me:word@a:1", Proxy("a", 1), "me:word"),
    ("http://me@a:1", Proxy("a", 1), "me:"),
    ("http://:word@a:1", Proxy("a", 1), ":word"),
    ("http://me:a%40b%3Ac:d@a:1", Proxy("a", 1), "me:a@b:c:d"),
    ("http://m%C3%A9:w@a:65535", Proxy("a", 65535), "mé:w"),
]

BAD = [
    ("", "nothing"),
    ("127.0.0.1:3128", "no scheme"),
    ("https://127.0.0.1:3128", "TLS to the proxy is not spoken"),
    ("socks5://127.0.0.1:1080", "another kind of proxy"),
    ("http://127.0.0.1", "no port"),
    ("http://127.0.0.1:0", "port 0"),
    ("http://127.0.0.1:65536", "port too large"),
    ("http://127.0.0.1:3128/x", "a path"),
    ("http://127.0.0.1:3128?x", "a query"),
    ("http://::1:3128", "IPv6 without brackets"),
    ("http://a b:3128", "a blank"),
    ("http://a\n:3128", "a line's end"),
    ("http://é:3128", "not ASCII"),
    ("http://me:sec@ret@a:1", "@ has to be escaped"),
    ("http://me:sec/ret@a:", "no port"),
]


@pytest.mark.parametrize(("url", "proxy", "pair"), GOOD, ids=lambda each: str(each))
def test_a_proxy_is_read(url: str, proxy: Proxy, pair: str) -> None:
    read = parse_proxy(url)
    assert (read.host, read.port) == (proxy.host, proxy.port)
    if not pair:
        assert read.authorization == ""
    else:
        kind, _, value = read.authorization.partition(" ")
        assert kind == "Basic"
        assert b64decode(value).decode() == pair


@pytest.mark.parametrize(("url", "why"), BAD)
def test_what_is_no_proxy_is_refused_without_repeating_it(url: str, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_proxy(url)
    assert caught.value.code == "proxy-url", why
    assert "ret" not in caught.value.message


def test_a_proxy_shows_where_it_is_and_not_what_it_wants_to_hear() -> None:
    proxy = parse_proxy("http://me:secret@[::1]:3128")
    assert str(proxy) == "[::1]:3128"
    assert repr(proxy) == "Proxy([::1]:3128)"
    assert str(parse_proxy("http://me:secret@proxy.internal:80")) == "proxy.internal:80"
