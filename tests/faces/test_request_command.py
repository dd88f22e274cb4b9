"""``ranvier request``: signed, answered, shown; whatever the answer holds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranvier.faces.cli import run
from tests.faces.conftest import Serving, start, stop
from tests.rigs import certs
from tests.rigs.proxy import ConnectProxy
from tests.rigs.tls import TlsListener, answering, listening

Printed = pytest.CaptureFixture[str]

VERSION = "/_matrix/federation/v1/version"
SEND = "/_matrix/federation/v1/send/t1"
UNSIGNED = "there is no X-Matrix header (auth-missing)"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without --config our key is made where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def peer() -> Iterator[TlsListener]:
    """A server that answers what a test tells it to."""
    with TlsListener(certs.good("127.0.0.1"), answering(b"{}")) as listener:
        yield listener


def ask(peer: TlsListener, *words: str, method: str = "GET", path: str = "/x") -> int:
    way = ["--ca", certs.authority().file, "--allow-private"]
    return run(["request", method, str(peer.address), path, *way, *words])


def data_of(printed: Printed) -> Any:
    return json.loads(printed.readouterr().out)


# --- Against a server of ours ---


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    """A server, and the configuration of another one that it can ask for its keys."""
    folder = tmp_path_factory.mktemp("two")
    other = start(folder / "other")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    config = folder / "ranvier.toml"
    config.write_text(
        f'server_name = "localhost:{port}"\ndata = "one"\n[listen]\nport = {port}\n'
        f'[outgoing]\nca_file = "{other.certificate}"\nallow_private = true\n'
    )
    serving = start(folder / "one", "--config", str(config))
    mine = folder / "mine.toml"
    mine.write_text(f'server_name = "{other.name}"\ndata = "other"\n')
    yield serving, mine
    assert (stop(serving), stop(other)) == (0, 0)


@pytest.mark.req("AUTH-01", "TXN-15")
def test_a_transaction_by_hand_is_signed_and_taken(
    two: tuple[Serving, Path], printed: Printed, elsewhere: Path
) -> None:
    serving, mine = two
    origin = mine.read_text().split('"')[1]
    content = {"origin": origin, "origin_server_ts": 1_800_000_000_000, "pdus": []}
    (elsewhere / "body.json").write_text(json.dumps(content))
    way = ["--config", str(mine), "--ca", str(serving.data / "tls.crt"), "--allow-private"]
    words = ["put", serving.name, SEND, "--content", f"@{elsewhere / 'body.json'}"]
    assert run(["request", *words, *way]) == 0
    out = printed.readouterr().out
    assert f"PUT https://{serving.name}{SEND}" in " ".join(out.split())
    assert out.endswith('-> 200, 11 bytes\n\n{\n  "pdus": {}\n}\n')
    assert run(["request", *words, *way, "--unsigned"]) == 1


def test_who_cannot_be_asked_for_keys_gets_the_cure(
    two: tuple[Serving, Path], printed: Printed
) -> None:
    serving, _ = two
    way = ["--ca", str(serving.data / "tls.crt"), "--allow-private"]
    assert run(["request", "PUT", serving.name, SEND, "-d", "{}", *way]) == 1
    out, err = printed.readouterr()
    assert '"errcode": "M_UNAUTHORIZED"' in out
    assert "It must be able to fetch our keys" in err
    assert "serve --verbose" in " ".join(err.split())
    assert all(len(line) <= 80 for line in err.splitlines())


def test_the_server_says_why_it_refused_if_it_is_asked_to(tmp_path: Path) -> None:
    one = start(tmp_path, "--verbose")
    way = ["--ca", one.certificate, "--allow-private", "--unsigned"]
    assert run(["request", "PUT", one.name, SEND, *way]) == 1
    assert one.process.stdout is not None
    said = next(line for line in one.process.stdout if "ranvier.receive" in line)
    assert said == f"INFO ranvier.receive: refused PUT '{SEND}': {UNSIGNED}\n"
    assert stop(one) == 0


def test_what_it_does_not_have_is_an_answer_with_its_trail(
    two: tuple[Serving, Path], printed: Printed
) -> None:
    serving, _ = two
    way = ["--ca", str(serving.data / "tls.crt"), "--allow-private"]
    assert run(["request", "GET", serving.name, "/nothing", *way]) == 1
    out, err = printed.readouterr()
    assert out.endswith('"error": "there is nothing at this path"\n}\n')
    assert "(answer-unsupported)" in err
    assert run(["request", "GET", serving.name, "/nothing", *way, "--json"]) == 1
    told = data_of(printed)
    assert (told["status"], told["body"]["errcode"]) == (404, "M_UNRECOGNIZED")
    assert told["error"]["code"] == "answer-unsupported"
    assert told["trail"][-1]["what"] == "request"


# --- What goes out ---


@pytest.mark.req("AUTH-03", "AUTH-16", "API-02")
def test_the_request_is_signed_by_the_key_of_serve_and_sent_byte_for_byte(
    peer: TlsListener, printed: Printed, elsewhere: Path
) -> None:
    assert ask(peer, method="post", path="/x%2F?a=%3a+") == 0
    (seen,) = peer.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/x%2F?a=%3a+", b"{}")
    key_id = (elsewhere / "ranvier-data" / "signing.key").read_text().split()[1]
    assert (seen.header("authorization") or "").startswith(
        f'X-Matrix origin="localhost:8448",destination="{peer.address}",key="ed25519:{key_id}",sig='
    )


def test_it_signs_by_the_name_that_it_is_told(peer: TlsListener, printed: Printed) -> None:
    assert ask(peer, "--as", "us.example:8449") == 0
    header = peer.requests[0].header("authorization") or ""
    assert header.startswith('X-Matrix origin="us.example:8449",')
    assert ask(peer, "--as", "us_example") == 2


def test_unsigned_sends_no_signature_and_makes_no_key(
    peer: TlsListener, printed: Printed, elsewhere: Path
) -> None:
    assert ask(peer, "--unsigned", path=VERSION) == 0
    assert peer.requests[0].header("authorization") is None
    assert not (elsewhere / "ranvier-data" / "signing.key").exists()


# --- What comes back ---


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"b": [1, "\xc3\xa9"]}', '{\n  "b": [\n    1,\n    "\u00e9"\n  ]\n}'),  # JSON, indented
        (b'{"a": "\\u001b[2J\x7f"}', '{\n  "a": "\\u001b[2J\\x7f"\n}'),  # nothing acts
        (b'{"a": "\xc2\x9b2J\\ud800"}', '{\n  "a": "\\x9b2J\\ud800"\n}'),  # nor as one character
        (b"<h1>\x1b[2J</h1>\r\n<p>", "<h1>\\x1b[2J</h1>\n<p>"),  # text keeps its lines
        (b'{"a": NaN}', '{"a": NaN}'),  # no JSON: as text
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 50_000, "[" * 50_000),  # too deep to be shown otherwise
        (b"[" * 900 + b"]" * 900, None),  # deep, and JSON
        (b'"a"', '"a"'),
        (b"9" * 5000, "9" * 5000),  # a number that Python does not read
    ],
    ids=repr,
)
def test_whatever_the_body_is_it_is_shown_and_does_nothing(
    peer: TlsListener, printed: Printed, body: bytes, shown: str | None
) -> None:
    peer.handler = answering(body)
    assert ask(peer) == 0
    trail, _, rest = printed.readouterr().out.partition("\n\n")
    assert trail.endswith(f"-> 200, {len(body)} bytes")
    assert shown is None or rest == shown + "\n"
    assert ask(peer, "--json") == 0
    out = printed.readouterr().out
    assert out.isascii()
    json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_an_answer_without_a_body_is_its_trail(peer: TlsListener, printed: Printed) -> None:
    peer.handler = answering(b"")
    assert ask(peer) == 0
    assert printed.readouterr().out.endswith("-> 200, 0 bytes\n")


def test_a_refusal_of_a_hostile_server_does_nothing_either(
    peer: TlsListener, printed: Printed
) -> None:
    peer.handler = answering(b'{"errcode": "M_\x7f\\u001b[2J", "error": "\\u001b[2J"}', status=403)
    assert ask(peer) == 1
    out, err = printed.readouterr()
    assert "\x1b" not in out + err
    assert "(answer-status)" in err


def test_a_wish_to_come_later_is_told(peer: TlsListener, printed: Printed) -> None:
    peer.handler = answering(b'{"errcode": "M_LIMIT_EXCEEDED"}', status=429)
    assert ask(peer) == 1
    assert "more slowly: again later" in printed.readouterr().err


def test_a_redirect_is_not_followed_and_the_cure_is_told(
    peer: TlsListener, printed: Printed
) -> None:
    peer.handler = answering(b"", status=302, headers={"Location": "/elsewhere"})
    assert ask(peer) == 1
    assert [seen.target for seen in peer.requests] == ["/x"]
    assert "its owner should pass this path on" in printed.readouterr().err


def test_a_server_that_never_answers_is_given_up_with_the_cure(
    peer: TlsListener, printed: Printed
) -> None:
    peer.handler = listening
    assert ask(peer, "--timeout", "0.5") == 1
    err = printed.readouterr().err
    assert "(request-timeout)" in err
    assert "again with --timeout SECONDS" in err


def test_a_proxy_that_refuses_is_told_with_the_cure(
    peer: TlsListener, printed: Printed, elsewhere: Path
) -> None:
    with ConnectProxy(lambda head: b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        (elsewhere / "ranvier.toml").write_text(f'[outgoing]\nproxy = "http://{proxy.address}"\n')
        assert ask(peer, "--config", "ranvier.toml") == 1
    assert "may it connect there" in printed.readouterr().err
    assert ask(peer, "--config", "ranvier.toml") == 3, "our own proxy is gone: we could not ask"
    assert "is it running there?" in printed.readouterr().err


# --- Wrong usage ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["GET", "a.example"], "PATH"),
        (["GET", "a.example", "x"], "A path begins with a slash"),
        (["GET", "exa_mple.org", "/x"], "A server name is"),
        (["SEND", "a.example", "/x"], "'SEND' is none of the methods"),
        (["GET", "a.example", "/x", "-d", "{}"], "a GET request carries no content"),
        (["PUT", "a.example", "/x", "-d", "{a:1}"], "--content:"),
        (["PUT", "a.example", "/x", "-d", ""], "--content:"),
        (["PUT", "a.example", "/x", "-d", '{"a": 1.5}'], "'1.5' is no canonical integer"),
        (["PUT", "a.example", "/x", "-d", "[]"], "--content:"),
        (["PUT", "a.example", "/x", "-d", '{"a": "\udcff"}'], "--content:"),
        (["PUT", "a.example", "/x", "-d", "@none.json"], "'none.json' cannot be read"),
        (["PUT", "a.example", "/x", "-d", "@."], "'.' cannot be read"),
        (["PUT", "a.example", "/x", "{}"], "Too many words: '{}'."),
    ],
)
def test_wrong_usage_is_exit_code_2_and_asks_nobody(
    printed: Printed, words: list[str], said: str
) -> None:
    assert run(["request", *words]) == 2
    out, err = printed.readouterr()
    assert said in err
    assert out == ""
    assert len(err.splitlines()) <= 2


@pytest.fixture
def printed(capsys: Printed) -> Printed:
    """What the command printed."""
    return capsys
