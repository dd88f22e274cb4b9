"""The examples run as they stand, against loopback and the in-memory world only."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranvier.faces.cli import run
from tests.faces.conftest import Serving, start, stop
from tests.house.tree import ROOT
from tests.rigs import certs
from tests.rigs.dns import DnsRig, Name

EXAMPLES = ROOT / "examples"


def shown_by(name: str, *words: str) -> str:
    """What an example prints, run as a newcomer would run it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for the module."""
    one = start(tmp_path_factory.mktemp("serve"))
    yield one
    assert stop(one) == 0


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text()
    wanted = {f"def test_{path.stem.removeprefix('test_')}(" for path in EXAMPLES.glob("*.py")}
    assert wanted
    assert not [each for each in wanted if each not in tested]


def test_resolve_with_trail() -> None:
    srv = {"_matrix-fed._tcp.a.example": Name(srv=[(0, 5, 4433, "fed.a.example")])}
    with DnsRig({**srv, "fed.a.example": Name(a=["127.0.0.7"])}) as rig:
        out = shown_by("resolve_with_trail.py", "a.example", str(rig.address))
    assert "[s2s:resolving-server-names 4]" in out
    assert out.endswith(
        "connect to 127.0.0.7:4433\nsend Host: a.example\nexpect a certificate for a.example\n"
    )


def test_fetch_keys(serving: Serving) -> None:
    out = shown_by("fetch_keys.py", serving.name, serving.certificate)
    assert out.startswith("good     ed25519:a_")
    assert out.endswith("asked again: answered from memory\n")
    refused = shown_by("fetch_keys.py", serving.name)
    assert refused.startswith("no connection (no-connection)")
    assert "loopback" in refused


@pytest.mark.parametrize("name", ["fetch_keys.py", "resolve_with_trail.py"])
def test_without_a_name_an_example_says_how_to_call_it(name: str) -> None:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"examples/{name} matrix.org" in done.stderr
    assert "Traceback" not in done.stderr


def test_publish_in_your_app(tmp_path: Path) -> None:
    words = ["--app-dir", str(EXAMPLES), "publish_in_your_app:app", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATA": str(tmp_path), "SERVER_NAME": "app.example"},
    )
    assert process.stderr is not None
    try:
        found = (re.search(r"running on http://127.0.0.1:(\d+)", line) for line in process.stderr)
        port = next(int(each[1]) for each in found if each)
        assert asked(port, "/hello") == (200, b"hello from app.example\n")
        status, body = asked(port, "/_matrix/key/v2/server")
        assert (status, json.loads(body)["server_name"]) == (200, "app.example")
        assert asked(port, "/_matrix/federation/v1/version")[0] == 200
        assert asked(port, "/nothing")[0] == 404
        assert [path.name for path in tmp_path.iterdir()] == ["signing.key"]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def asked(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(each.getsockname()[1]) for each in sockets]


def test_send_and_receive() -> None:
    ports = free_ports(2)
    first, second = (f"localhost:{port}" for port in ports)
    assert shown_by("send_and_receive.py", *ports).splitlines() == [
        f"answer: @bob:{second}, as told to {first}",
        f"received: @alice:{first} types in !room:here",
        f"received: message m1 from @alice:{first}",
        f"sent: transaction delivered to {second}",
    ]


def test_protect_your_app(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked by ``ranvier request`` with the key of a running server; uvicorn ends TLS itself."""
    (port,) = free_ports(1)
    name, (cert, key) = f"localhost:{port}", certs.good("localhost").files
    out = f'[outgoing]\nca_file = "{serving.certificate}"\nallow_private = true\n'
    theirs, ours = tmp_path / "ranvier.toml", serving.data / "asking.toml"
    theirs.write_text(f'server_name = "{name}"\n[listen]\ntls = false\n{out}')
    ours.write_text(f'server_name = "{serving.name}"\n')
    app = ["--app-dir", str(EXAMPLES), "protect_your_app:app", "--port", port]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *app, "--ssl-certfile", cert, "--ssl-keyfile", key],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CONFIG": str(theirs)},
    )
    assert process.stderr is not None
    try:
        assert any("running on https://" in line for line in process.stderr)
        words = ["request", "POST", name, "/_matrix/policy/v1/sign", "-d", '{"a":1}', "--json"]
        words += ["--config", str(ours), "--ca", certs.authority().file, "--allow-private"]
        assert run(words) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["body"] == {"asked_by": serving.name, "members": ["a"]}
        assert run([*words, "--unsigned"]) == 1
        assert json.loads(capsys.readouterr().out)["status"] == 401
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_with_the_world() -> None:
    path = EXAMPLES / "test_with_the_world.py"
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLES), str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLES,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
