"""The command line against our own running server: lines, data and exit codes."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranvier.faces.cli import main, run
from ranvier.protocol.signing import parse_signing_keys
from tests.faces.conftest import Serving, start, stop
from tests.rigs.dns import DnsRig, Name, Trouble

Printed = pytest.CaptureFixture[str]


def data_of(printed: Printed) -> Any:
    return json.loads(printed.readouterr().out)


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsRig]:
    zone = {
        "silent.example": Name(trouble=Trouble.SILENCE),
        "broken.example": Name(trouble=Trouble.SERVFAIL),
        "private.example": Name(a=["127.0.0.9"]),
        "old.example": Name(a=["127.0.0.9"]),
    }
    with DnsRig(zone) as rig:
        yield rig


def asked_of(dns: DnsRig) -> tuple[str, str]:
    return "--dns", str(dns.address)


# --- serve ---


def test_serve_says_who_where_and_what_to_try(serving: Serving) -> None:
    *_, first, second, third = serving.said
    port = serving.name.removeprefix("localhost:")
    assert first.startswith(f"localhost:{port} serves on https://127.0.0.1:{port} with key ed25519")
    assert f"https://127.0.0.1:{port}/_matrix/key/v2/server" in second
    assert third.startswith(f"  try   ./dev run keys fetch localhost:{port} --ca ")


def test_the_command_that_serve_proposes_works(serving: Serving, printed: Printed) -> None:
    words = serving.said[-1].removeprefix("  try   ./dev run ").split()
    words[words.index("--ca") + 1] = serving.certificate
    assert run(words) == 0
    assert f"keys of {serving.name}" in printed.readouterr().out


def test_a_busy_port_gives_the_next_free_one_and_says_so(serving: Serving, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8448))
            taken.listen()
        except OSError:
            pass  # the module's own server, or somebody else, has it already
        other = start(tmp_path)
    assert stop(other) == 0
    assert other.name != "localhost:8448"
    assert "is busy" in other.said[0]


def test_keys_and_certificate_are_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    first = start(tmp_path)
    stop(first)
    kept = {name: (tmp_path / name).read_bytes() for name in ("signing.key", "tls.crt", "tls.key")}
    second = start(tmp_path)
    stop(second)
    assert kept == {name: (tmp_path / name).read_bytes() for name in kept}
    assert (tmp_path / "signing.key").stat().st_mode & 0o077 == 0


def test_the_name_follows_a_chosen_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = start(tmp_path, "--port", str(port))
    assert stop(one) == 0
    assert one.said[0].startswith(f"localhost:{port} serves on https://127.0.0.1:{port} ")


def test_behind_a_proxy_the_command_to_try_needs_no_ca(tmp_path: Path) -> None:
    config = tmp_path / "ranvier.toml"
    config.write_text(
        'server_name = "example.org"\n[listen]\nhost = "127.0.0.1"\nport = 0\ntls = false\n'
    )
    one = start(tmp_path, "--config", str(config))
    assert stop(one) == 0
    first, second, third = one.said
    assert first.startswith("example.org serves on http://127.0.0.1:")
    assert second.endswith("  (version 1 is off)")
    assert third == "  try   ./dev run keys fetch example.org --allow-private"


def test_a_chosen_port_that_is_busy_is_one_clear_line(printed: Printed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--data", str(tmp_path), "--port", str(port)]) == 2
    err = printed.readouterr().err
    assert f"port {port}" in err
    assert err.count("\n") == 1


# --- keys fetch ---


def test_keys_fetch_shows_the_path_and_the_key(serving: Serving, printed: Printed) -> None:
    code = run(["keys", "fetch", serving.name, "--ca", serving.certificate, "--allow-private"])
    out = printed.readouterr().out
    assert code == 0
    key_id = serving.said[-3].split()[-1]
    assert f"good     {key_id}" in out
    assert "every condition held" in out


def test_json_gives_the_same_facts_as_data(serving: Serving, printed: Printed) -> None:
    words = ["keys", "fetch", serving.name, "--ca", serving.certificate]
    assert run([*words, "--allow-private", "--json"]) == 0
    data = data_of(printed)
    assert data["server_name"] == serving.name
    assert [each["verdict"] for each in data["keys"]] == ["good"]
    assert data["document"]["server_name"] == serving.name
    assert {each["what"] for each in data["trail"]} >= {"dial", "key-fetch", "key-document"}


@pytest.mark.req("SEC-20", "REF14-12")
def test_the_rule_of_2014_is_asked_for_and_marked(serving: Serving, printed: Printed) -> None:
    words = ["keys", "fetch", serving.name, "--allow-private"]
    assert run([*words, "--trust", "published-certificate"]) == 0
    out = printed.readouterr().out
    assert "trusted by first use (published-certificate)" in out
    assert f"sha256:{serving.fingerprint}" in out
    assert "GET https://localhost" in out
    assert "/_matrix/key/v1" in out


def test_a_certificate_of_its_own_is_the_answer_no(serving: Serving, printed: Printed) -> None:
    assert run(["keys", "fetch", serving.name, "--allow-private"]) == 1
    err = printed.readouterr().err
    assert "self-signed" in err
    assert "--ca FILE" in err


def test_a_pin_lets_in_the_one_certificate_only(serving: Serving, printed: Printed) -> None:
    words = ["keys", "fetch", serving.name, "--allow-private", "--json"]
    assert run([*words, "--trust", "published-certificate"]) == 0
    first = data_of(printed)
    pin = first["certificate_sha256"]
    assert pin == serving.fingerprint
    assert run([*words, "--trust", f"sha256:{pin}"]) == 0
    assert data_of(printed)["entered"] == "configured certificate"
    assert run([*words, "--trust", f"sha256:{'0' * 64}"]) == 1
    assert data_of(printed)["error"]["code"] == "no-connection"
    key = first["keys"][0]
    assert run([*words, "--trust", f"{key['key_id']}={key['key']}"]) == 0
    assert data_of(printed)["entered"] == "configured key"


@pytest.mark.req("SEC-05")
def test_a_server_that_does_not_run_gets_the_cure(printed: Printed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        free = held.getsockname()[1]
    assert run(["keys", "fetch", f"localhost:{free}", "--allow-private"]) == 1
    assert "Is it running, and is the port right?" in printed.readouterr().err


def test_a_private_address_is_not_asked_and_the_cure_is_printed(
    serving: Serving, printed: Printed
) -> None:
    assert run(["keys", "fetch", serving.name, "--ca", serving.certificate]) == 3
    err = printed.readouterr().err
    assert "loopback" in err
    assert "--allow-private" in err


def test_a_failure_as_data_has_code_clause_and_trail(serving: Serving, printed: Printed) -> None:
    assert run(["keys", "fetch", serving.name, "--json"]) == 3
    data = data_of(printed)
    assert data["error"]["kind"] == "Unreachable"
    assert data["error"]["clause"]
    assert any(step.get("code") == "address-refused" for step in data["trail"])


# --- resolve ---


def test_resolve_of_an_explicit_port_asks_nobody(printed: Printed) -> None:
    assert run(["resolve", "127.0.0.1:8449", "--json"]) == 0
    data = data_of(printed)
    (route,) = data["routes"]
    assert (route["step"], route["addresses"]) == ("1", ["127.0.0.1:8449"])
    assert route["host_header"] == "127.0.0.1:8449"


def test_resolve_shows_what_must_be_true_where(dns: DnsRig, printed: Printed) -> None:
    assert run(["resolve", "private.example:8448", *asked_of(dns)]) == 0
    out = printed.readouterr().out
    assert "step 2: connect to private.example port 8448" in out
    assert "  address      127.0.0.9:8448" in out
    assert "  Host         private.example:8448" in out
    assert "  certificate  for the name private.example" in out


def test_resolve_says_whom_our_own_policy_kept_it_from_asking(
    dns: DnsRig, printed: Printed
) -> None:
    assert run(["resolve", "private.example", *asked_of(dns)]) == 0
    first, *_, cure = printed.readouterr().err.splitlines()
    assert first.startswith("note: we do not connect to 127.0.0.9:443: ")
    assert cure == "  If you do mean to connect there: again with --allow-private."


@pytest.mark.req("SEED-04", "ERR14-02")
def test_resolve_in_2014_mode_follows_the_text_of_2014(dns: DnsRig, printed: Printed) -> None:
    words = ["resolve", "old.example:8448", *asked_of(dns), "--mode", "2014", "--json"]
    assert run(words) == 0
    assert data_of(printed)["routes"][0]["step"] == "2014:port"
    assert [each.kind for each in dns.queries if each.name == "old.example"] == ["A"]
    assert run(["resolve", "private.example:", *asked_of(dns)]) == 2
    assert "private.example:" in printed.readouterr().err


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gone.example:8448", 1),  # NXDOMAIN: the answer is no
        ("broken.example:8448", 3),  # SERVFAIL: nobody knows
        ("silent.example:8448", 3),  # silence: we could not ask
        ("127.1", 1),  # never resolved (D27)
    ],
)
def test_no_and_could_not_ask_are_told_apart(
    dns: DnsRig, printed: Printed, name: str, code: int
) -> None:
    assert run(["resolve", name, *asked_of(dns), "--timeout", "20"]) == code


def test_time_that_ran_out_while_dns_was_silent_is_could_not_ask(
    dns: DnsRig, printed: Printed
) -> None:
    assert run(["resolve", "silent.example:8448", *asked_of(dns), "--timeout", "0.3"]) == 3


# --- standard output ---


def left_by(output: str, *words: str) -> tuple[int, str]:
    """Exit code and standard error of a process whose standard output is a closed pipe, or full."""
    if output == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(output, os.O_WRONLY)
    command = [sys.executable, "-m", "ranvier", *words]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["keys", "generate"], ["resolve", "[::1]:1", "--json"]])
def test_a_reader_that_has_gone_is_no_traceback(words: list[str]) -> None:
    assert left_by("closed", *words) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_an_answer_that_cannot_be_written_is_said_in_one_line() -> None:
    code, said = left_by("/dev/full", "keys", "generate")
    assert code == 3
    assert said == "ranvier: the answer cannot be written: No space left on device\n"


# --- our own keys ---


def test_generate_prints_a_line_that_can_be_read_back(printed: Printed) -> None:
    assert run(["keys", "generate"]) == 0
    (key,) = parse_signing_keys(printed.readouterr().out)
    assert key.key_id.startswith("ed25519:a_")


@pytest.mark.req("SEC-17")
def test_generate_into_a_file_shows_only_the_public_half(printed: Printed, tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    assert run(["keys", "generate", "--out", str(path)]) == 0
    out = printed.readouterr().out
    assert path.read_text().split()[2] not in out
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert run(["keys", "generate", "--out", str(path)]) == 2
    assert "left as it is" in printed.readouterr().err
    assert path.read_bytes() == before
    assert run(["keys", "show", "--key-file", str(path)]) == 0
    assert printed.readouterr().out in out + "\n" + out
    assert run(["keys", "show", "--key-file", str(path), "--json"]) == 0
    assert data_of(printed)["keys"][0]["key_id"].startswith("ed25519:a_")


def test_a_letter_that_the_terminal_lacks_is_shown_as_an_escape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit) as left:
        main(["keys", "generate", "--out", str(tmp_path / "\u6f22.key")])
    assert left.value.code == 0
    terminal.flush()
    assert rb"\u6f22.key" in terminal.buffer.getvalue()


def test_generate_as_data_has_the_seed_only_without_a_file(
    printed: Printed, tmp_path: Path
) -> None:
    assert run(["keys", "generate", "--json"]) == 0
    assert data_of(printed)["signing_key"].startswith("ed25519 a_")
    assert run(["keys", "generate", "--json", "--out", str(tmp_path / "k")]) == 0
    assert "signing_key" not in data_of(printed)


def test_show_without_a_file_says_how_to_make_one(printed: Printed, tmp_path: Path) -> None:
    assert run(["keys", "show", "--key-file", str(tmp_path / "none")]) == 2
    assert "ranvier keys generate --out" in printed.readouterr().err


# --- wrong usage ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resolve"], "NAME"),
        (["resolve", "a", "b"], "Too many words: 'b'."),
        (["resolv", "a"], "resolv"),
        (["resolve", "exa_mple.org"], "exa_mple.org"),
        (["resolve", "example.org:99999"], "99999"),
        (["resolve", "example.org", "--mode", "2015"], "2015"),
        (["resolve", "example.org", "--dns", "dns.example"], "--dns: 'dns.example'"),
        (["resolve", "example.org", "--timeout", "0"], "more than 0"),
        (["keys", "fetch", "example.org", "--trust", "blind"], "--trust"),
        (["keys", "fetch", "example.org", "--trust", "sha256:xyz"], "64 hex digits"),
        (["keys", "fetch", "example.org", "--ca", "none.pem"], "none.pem"),
        (["keys", "fetch", "example.org", "--config", "none.toml"], "none.toml"),
        (["serve", "--config", "none.toml"], "none.toml"),
        (["serve", "--port", "0"], "--port"),
        (["serve", "--port", "65536"], "Must be <= 65535"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    printed: Printed, words: list[str], said: str
) -> None:
    assert run(words) == 2
    out, err = printed.readouterr()
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2


def test_help_lists_every_command_with_what_it_does(printed: Printed) -> None:
    assert run(["--version"]) == 0
    printed.readouterr()
    assert run(["--help"]) == 0
    out = printed.readouterr().out
    assert "resolve      Find a server" in out
    assert "serve        Run a home server" in out
    assert "request      Ask another server" in out
    assert "queue        What waits to be sent" in out
    assert run(["keys", "--help"]) == 0
    assert "fetch     Fetch and verify" in printed.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["resolve"],
        ["serve"],
        ["request"],
        ["queue"],
        ["keys", "fetch"],
        ["keys", "generate"],
        ["keys", "show"],
    ],
)
def test_the_help_of_a_command_fits_into_80_columns(
    printed: Printed, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*words, "--help"]) == 0
    out = printed.readouterr().out
    assert f"Usage: ranvier {' '.join(words)}" in out
    assert "[default: False]" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_wrong_usage_names_the_help_of_that_very_command(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANVIER_COMMAND", "./dev run")
    assert run(["keys", "fetch", "a.example", "--bogus"]) == 2
    assert "  Try: ./dev run keys fetch --help" in printed.readouterr().err


@pytest.mark.parametrize("name", ["https://example.org", "@alice:example.org", "example.org/x"])
def test_what_is_no_server_name_gets_told_what_one_is(printed: Printed, name: str) -> None:
    assert run(["resolve", name]) == 2
    assert "A server name is HOST or HOST:PORT" in printed.readouterr().err


def test_an_ipv6_address_gets_told_its_brackets(printed: Printed) -> None:
    assert run(["resolve", "::1"]) == 2
    err = printed.readouterr().err
    assert "(IPv6 in [ ])" in err
    assert max(map(len, err.splitlines())) <= 80


@pytest.mark.parametrize(
    ("written", "cure"),
    [
        ("[outgoing]\nallow_privat = true", "All settings and their values"),
        ("server_name = hq.corp.example", 'text goes in "quotes"'),
    ],
)
def test_a_configuration_that_is_wrong_gets_told_where_all_settings_stand(
    printed: Printed, tmp_path: Path, written: str, cure: str
) -> None:
    (tmp_path / "ranvier.toml").write_text(written)
    assert run(["keys", "show", "--config", str(tmp_path / "ranvier.toml")]) == 2
    assert cure in printed.readouterr().err


def test_what_was_our_own_doing_is_told_beside_a_good_answer(dns: DnsRig, printed: Printed) -> None:
    assert run(["resolve", "private.example", *asked_of(dns)]) == 0
    out, err = printed.readouterr()
    assert "step 6: connect to private.example port 8448" in out
    assert "again with --allow-private" in err


def test_a_name_without_an_address_says_so(dns: DnsRig, printed: Printed) -> None:
    assert run(["resolve", "gone.example:8448", *asked_of(dns)]) == 1
    assert "  address      none found for gone.example" in printed.readouterr().out


def test_a_name_that_leads_nowhere_says_why_once(printed: Printed) -> None:
    assert run(["resolve", "127.1"]) == 1
    out = printed.readouterr().out
    assert "no way to 127.1: '127.1' is never looked up" in out
    assert "note:" not in out


def test_what_a_peer_says_never_reaches_the_terminal_raw(printed: Printed) -> None:
    assert run(["resolve", "exa\x1b[31mmple.org"]) == 2
    assert "\x1b[31m" not in printed.readouterr().err


@pytest.fixture
def printed(capsys: Printed) -> Printed:
    """What the command printed."""
    return capsys
