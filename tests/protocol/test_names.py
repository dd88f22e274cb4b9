"""Server names by both grammars, identifiers, key ids and TLS names."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.protocol.names import (
    Grammar,
    HostKind,
    ServerName,
    TlsName,
    is_publishable_key_id,
    parse_key_id,
    parse_server_name,
    parse_server_name_2014,
    split_identifier,
    tls_name_of,
)

VECTORS = json.loads(Path(__file__, "../../../vectors/names.json").resolve().read_text())
PARSERS = {"current": parse_server_name, "2014": parse_server_name_2014}


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


@pytest.mark.req("NAME-01", "NAME-02", "NAME-03", "NAME-04", "NAME-08", "NAME-09", "NAME-10", "D3")
@pytest.mark.req("SEED-02", "SEED-03")
@pytest.mark.parametrize("vector", vectors("server-name"))
@pytest.mark.parametrize("grammar", ["current", "2014"])
def test_the_vectors_of_server_names(vector: dict[str, Any], grammar: str) -> None:
    expected = vector["expected"][grammar]
    if isinstance(expected, str):
        with pytest.raises(Malformed) as caught:
            PARSERS[grammar](vector["input"])
        assert caught.value.code == expected
        assert caught.value.clause
    else:
        name = PARSERS[grammar](vector["input"])
        assert [name.kind, name.host, name.port] == expected
        assert name.grammar == grammar
        assert str(name) == name.text == vector["input"]


def good(text: str, **attributes: object) -> Any:
    return pytest.param(text, attributes, id=text)


@pytest.mark.req("DISC-17", "NAME-06")
@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        good("Example.ORG.", host="Example.ORG.", dns_name="example.org", hostname="Example.ORG."),
        good("[::FFFF:1]:80", host="::FFFF:1", hostname="[::FFFF:1]", dns_name="::ffff:1"),
        good("[::FFFF:1]", tls_name=TlsName("::ffff:1", is_ip=True), is_ip=True),
        good("1.2.3.4", tls_name=TlsName("1.2.3.4", is_ip=True), is_ip=True, resolvable=True),
        good("Example.ORG.:1", tls_name=TlsName("example.org"), is_ip=False, port=1),
    ],
)
def test_the_forms_that_are_derived_from_a_name(text: str, attributes: dict[str, object]) -> None:
    name = ServerName(text)
    assert {each: getattr(name, each) for each in attributes} == attributes


@pytest.mark.req("NAME-06")
def test_names_are_compared_letter_by_letter_whatever_grammar_took_them() -> None:
    assert ServerName("example.org") != ServerName("Example.org")
    assert ServerName("example.org") == parse_server_name_2014("example.org")
    assert len({ServerName("example.org"), ServerName("example.org"), ServerName("a")}) == 2
    text: object = "example.org"
    assert ServerName("example.org") != text


def test_a_name_cannot_be_changed_and_can_be_copied() -> None:
    name = ServerName("example.org:1")
    with pytest.raises(AttributeError):
        name.text = "other.org"  # type: ignore[misc] # it is frozen
    for twin in (copy.deepcopy(name), pickle.loads(pickle.dumps(name))):
        assert twin == name
        assert twin.port == 1
    assert repr(name) == "ServerName('example.org:1')"


@pytest.mark.req("NAME-03", "D27")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.1", "a number"),
        ("2130706433", "a number"),
        ("0x7f.1", "a number"),
        ("1.0x7F", "a number"),
        ("1.0x", "a number"),
        ("0177.0.0.1.", "a number"),  # the final dot keeps it from being a literal
        ("1.2.3", "a number"),
        (".", "an empty label"),
        ("a..b", "an empty label"),
        (".a", "an empty label"),
        ("a" * 64 + ".org", "63 a label"),
        (".".join(["a" * 49] * 5 + ["abcd"]), "253 in all"),
    ],
)
def test_what_a_resolver_would_misread_or_dns_cannot_hold_is_never_looked_up(
    text: str, reason: str
) -> None:
    name = ServerName(text)
    assert not name.resolvable
    assert reason in name.unresolvable
    assert any("never be found" in each for each in name.notes)


@pytest.mark.req("D27")
@pytest.mark.parametrize(
    "text", ["example.org", "a.0x7fg", "1.2.3.4", "[::1]", "1.a", "x.0a", "a."]
)
def test_other_names_may_be_looked_up(text: str) -> None:
    assert ServerName(text).resolvable


@pytest.mark.req("NAME-10")
def test_a_host_of_2014_is_looked_up_only_if_dns_could_know_it() -> None:
    assert parse_server_name_2014("exa_mple.org").resolvable
    assert not parse_server_name_2014("ex%20ample.org").resolvable
    assert "nobody has defined" in parse_server_name_2014("[v1.x]").unresolvable
    assert not parse_server_name_2014("1.2.3.256").resolvable


@pytest.mark.req("NAME-05", "NAME-07", "NAME-10", "D3")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("example.org", ""),
        ("1.2.3.4:8448", ""),
        ("Example.org", "upper case"),
        ("example.org.", "final dot"),
        ("-a.org", "hyphen"),
        ("a-.org", "hyphen"),
        ("a..b", "empty label"),
        (".".join(["a" * 50] * 4) + ":8448", ""),
        (".".join(["a" * 45] * 5), ""),
        (".".join(["a" * 45] * 5) + ":8448", "230"),
        ("example.org:", "empty"),
    ],
)
def test_notes_tell_what_a_careful_operator_would_not_choose(text: str, words: str) -> None:
    notes = parse_server_name_2014(text).notes
    assert len(notes) == (1 if words else 0), notes
    assert words in "".join(notes)


@pytest.mark.parametrize(
    ("host", "kind", "expected"),
    [
        ("0:0::1", HostKind.IPV6, TlsName("::1", is_ip=True)),
        ("1.2.3.4", HostKind.IPV4, TlsName("1.2.3.4", is_ip=True)),
        ("Matrix.Example.", HostKind.DNS, TlsName("matrix.example")),
    ],
)
def test_the_name_a_certificate_must_be_for(host: str, kind: HostKind, expected: TlsName) -> None:
    assert tls_name_of(host, kind) == expected
    assert str(expected) == expected.text


@pytest.mark.req("NAME-11")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@a:[::1]:8448", ("@", "a", "[::1]:8448")),
        ("@alice:example.org", ("@", "alice", "example.org")),
        ("#r\u00f6\u00f6m:example.org:80", ("#", "r\u00f6\u00f6m", "example.org:80")),
        ("@:example.org", ("@", "", "example.org")),
        ("!abc:a", ("!", "abc", "a")),
        ("$abc:a", ("$", "abc", "a")),
        ("@" + "a" * 252 + ":b", ("@", "a" * 252, "b")),
    ],
)
def test_identifiers_split_at_the_first_colon(text: str, expected: tuple[str, str, str]) -> None:
    identifier = split_identifier(text)
    assert (identifier.sigil, identifier.localpart, str(identifier.server_name)) == expected


@pytest.mark.req("NAME-11")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "identifier-sigil"),
        ("alice:example.org", "identifier-sigil"),
        ("@alice", "identifier-no-server"),
        ("!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM", "identifier-no-server"),
        ("@alice:", "name-empty-host"),
        ("@al:ice:example.org", "name-port"),
        ("@" + "a" * 253 + ":b", "identifier-too-long"),
        ("@" + "\u00e9" * 127 + ":b", "identifier-too-long"),  # bytes, not characters
        ("@\ud800:b c", "name-dns"),
    ],
)
def test_what_is_no_identifier_with_a_server_name(text: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        split_identifier(text)
    assert caught.value.code == code


@pytest.mark.req("SEED-13", "AMB-04", "KEY2-06", "SIGN-03")
@pytest.mark.parametrize(
    ("text", "algorithm", "version"),
    [
        ("ed25519:auto", "ed25519", "auto"),
        ("ed25519:key_version:", "ed25519", "key_version:"),
        ("ed25519:a/../b", "ed25519", "a/../b"),
        ("ed25519:", "ed25519", ""),
        ("rsa:1", "rsa", "1"),
    ],
)
def test_key_ids_of_others_are_read_leniently(text: str, algorithm: str, version: str) -> None:
    key_id = parse_key_id(text)
    assert (key_id.algorithm, key_id.version) == (algorithm, version)
    assert str(key_id) == key_id.text == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "key-id"),
        ("a_1", "key-id"),
        (":1", "key-id"),
        ("ed25519:" + "a" * 248, "key-id-too-long"),
    ],
)
def test_what_is_no_key_id(text: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_key_id(text)
    assert caught.value.code == code


@pytest.mark.req("KEY2-05", "AMB-05")
@pytest.mark.parametrize(
    ("text", "publishable"),
    [
        ("ed25519:a_1", True),
        ("ed25519:1", True),
        ("ed25519:a-1", False),
        ("ed25519:", False),
        ("a_1", False),
        ("ed25519:a_1\n", False),
        ("ed25519:\u0661", False),
        ("ed25519:a:b", False),
    ],
)
def test_our_own_key_ids_are_strict(text: str, publishable: bool) -> None:
    assert is_publishable_key_id(text) is publishable


names = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab1.-:[]%v_09xX", max_size=40),
    st.from_regex(r"(\[[0-9a-f:.]{0,20}\]|[0-9A-Za-z.-]{0,30})(:[0-9]{0,6})?", fullmatch=True),
)


@given(names)
@example("[::1%25eth0]")
def test_any_text_is_a_name_or_malformed_and_keeps_its_letters(text: str) -> None:
    for parse, grammar in ((parse_server_name, Grammar.CURRENT), (parse_server_name_2014, "2014")):
        try:
            name = parse(text)
        except Malformed:
            continue
        assert name.grammar == grammar
        port = text[len(name.hostname) + 1 :]
        assert text == name.hostname + (f":{port}" if text != name.hostname else "")
        assert name.port == (int(port) if port else None)
        assert name.dns_name == name.dns_name.lower()
        assert isinstance(name.notes, tuple)


@given(names)
def test_what_today_takes_2014_took_with_the_same_meaning(text: str) -> None:
    try:
        today = parse_server_name(text)
    except Malformed:
        return
    then = parse_server_name_2014(text)
    assert (then, then.host, then.port, then.kind) == (today, today.host, today.port, today.kind)
