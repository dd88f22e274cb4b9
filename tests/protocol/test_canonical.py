"""Strict and lenient JSON, canonical bytes, base64."""

from __future__ import annotations

import collections
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.protocol import canonical
from ranvier.protocol.canonical import (
    decode_base64,
    decode_base64_any,
    encode_base64,
    encode_base64_urlsafe,
    encode_canonical,
    encode_canonical_lenient,
    encode_strictly_read,
    parse_canonical,
    parse_json,
    parse_json_lenient,
    parse_json_object,
)

ROOM = 1_000_000


def vectors(file: str, *kinds: str) -> list[Any]:
    found = json.loads(Path(__file__, f"../../../vectors/{file}.json").resolve().read_text())
    return [pytest.param(v, id=v["id"]) for v in found["vectors"] if v["kind"] in kinds]


def refused(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> None:
    with pytest.raises(Malformed) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.clause in ("[app:canonical-json]", "[app:unpadded-base64]")


@pytest.mark.req("CJ-01", "CJ-02", "CJ-04", "D14-14")
@pytest.mark.parametrize("vector", vectors("canonical_json", "canonical"))
def test_the_canonical_vectors(vector: dict[str, Any]) -> None:
    expected = vector["expected"].encode()
    assert encode_canonical(parse_json(vector["input"].encode(), max_bytes=ROOM)) == expected
    assert parse_json(expected, max_bytes=ROOM) == json.loads(vector["input"])
    lenient = parse_json_lenient(vector["input"].encode(), max_bytes=ROOM)
    assert encode_canonical_lenient(lenient) == expected


@pytest.mark.req("CJ-03", "CJ-05", "CJ-07", "CJ-08", "AMB-11", "AMB-12", "D16", "D14-14")
@pytest.mark.parametrize("vector", vectors("canonical_json", "refused"))
def test_what_has_no_canonical_form_is_refused_when_strict(vector: dict[str, Any]) -> None:
    refused(vector["expected"], parse_json, vector["input"].encode(), max_bytes=ROOM)


@pytest.mark.req("CJ-06", "AMB-11", "AMB-12", "D16")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":-0,"b":1e10}', b'{"a":0,"b":10000000000.0}'),
        (b"[1.0,1E2,0.1,-0.0,1e16,1.5e-7]", b"[1.0,100.0,0.1,-0.0,1e+16,1.5e-07]"),
        (b"9007199254740992", b"9007199254740992"),
        (b"-1000000000000000000000000000000", b"-1000000000000000000000000000000"),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b"9" * 4300, b"9" * 4300),
    ],
)
def test_old_rooms_keep_floats_large_integers_and_the_last_duplicate(
    text: bytes, expected: bytes
) -> None:
    assert encode_canonical_lenient(parse_json_lenient(text, max_bytes=ROOM)) == expected


@pytest.mark.req("CJ-06", "CJ-07", "CJ-08")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[NaN]", "json-not-finite"),
        (b"-Infinity", "json-not-finite"),
        (b"1e400", "json-not-finite"),
        (b"9" * 4301, "json-too-many-digits"),
        (b'"\\ud800"', "json-surrogate"),
        (b"\xff", "json-not-utf8"),
        (b"{", "json-not-json"),
        (b"[" * 101 + b"]" * 101, "json-too-deep"),
        (b"[" * 10_000 + b"]" * 10_000, "json-too-deep"),
    ],
)
def test_even_old_rooms_have_limits(text: bytes, code: str) -> None:
    refused(code, parse_json_lenient, text, max_bytes=ROOM)
    refused("json-too-large", parse_json_lenient, text, max_bytes=0)


@pytest.mark.req("CJ-07", "AMB-12")
def test_who_is_lenient_about_numbers_may_still_refuse_duplicates() -> None:
    text = b'{"a":1.5,"b":{"c":1,"c":2}}'
    assert parse_json_lenient(text, max_bytes=ROOM) == {"a": 1.5, "b": {"c": 2}}
    refused("json-duplicate-key", parse_json_lenient, text, max_bytes=ROOM, unique=True)
    assert parse_json_lenient(b'{"a":1.5}', max_bytes=ROOM, unique=True) == {"a": 1.5}


@pytest.mark.req("CJ-08")
@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 900_000,
        b'[{"a":' * 150_000,
        b"[" * 101 + b"]" * 101,
        b"[[" + b"[" * 99 + b"1" + b"]" * 101,
        b"[ [" + b"[" * 99 + b"1" + b"]" * 101,
    ],
    ids=len,
)
def test_nesting_is_bounded_and_never_exhausts_the_stack(bomb: bytes) -> None:
    refused("json-too-deep", parse_json, bomb, max_bytes=ROOM)


@pytest.mark.req("CJ-08")
def test_depth_counts_arrays_and_objects_also_empty_ones() -> None:
    assert parse_json(b"[" * 100 + b"]" * 100, max_bytes=ROOM)
    assert parse_json(b'[{"a":[]}]', max_bytes=ROOM, max_depth=3) == [{"a": []}]
    refused("json-too-deep", parse_json, b'[{"a":[]}]', max_bytes=ROOM, max_depth=2)
    assert parse_json(b"1", max_bytes=ROOM, max_depth=0) == 1
    assert parse_json(b'"[["', max_bytes=ROOM, max_depth=0) == "[["
    refused("json-too-deep", parse_json, b"{}", max_bytes=ROOM, max_depth=0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1,"b":[]}', b'{"a":1,"b":[]}'),
        (b'{"b": [], "a": 1}', b'{"a":1,"b":[]}'),
        (b'{"a":"1234567890123456789"}', b'{"a":"1234567890123456789"}'),  # Long, but no integer.
        (b"[" + b"[]," * 100 + b"1]", b"[" + b"[]," * 100 + b"1]"),  # Many, but not deep.
        (b'"\\u0041"', b'"A"'),
    ],
)
def test_a_strict_reading_gives_the_canonical_bytes_too(data: bytes, expected: bytes) -> None:
    value, encoded = parse_canonical(data, max_bytes=ROOM)
    assert encoded == expected == encode_canonical(value)
    assert value == json.loads(data)


def test_a_strict_reading_does_not_need_the_fast_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tired:
        def decode(self, data: bytes) -> object:
            raise RecursionError

    monkeypatch.setattr(canonical, "_decoder", Tired())
    assert parse_canonical(b'{ "a": 1 }', max_bytes=ROOM) == ({"a": 1}, b'{"a":1}')


@pytest.mark.req("CJ-03")
def test_an_integer_that_is_too_large_is_seen_in_canonical_bytes() -> None:
    assert parse_json(b"[9007199254740991,-9007199254740991]", max_bytes=ROOM)
    for each in (b"[9007199254740992]", b"[-9007199254740992]", b"[18446744073709551616]"):
        refused("json-integer-range", parse_json, each, max_bytes=ROOM)


@pytest.mark.req("CJ-08")
def test_what_was_received_may_be_wrapped_before_it_is_signed() -> None:
    deepest = parse_json(b"[" * 100 + b"]" * 100, max_bytes=ROOM)
    assert encode_canonical({"content": deepest})
    loop: list[Any] = []
    loop.append(loop)
    refused("json-too-deep", encode_canonical, loop)


@pytest.mark.req("CJ-08")
def test_huge_numbers_are_refused_without_being_converted() -> None:
    for sign in (b"", b"-"):
        refused("json-integer-range", parse_json, sign + b"1" * 900_000, max_bytes=ROOM)
        refused("json-too-many-digits", parse_json_lenient, sign + b"1" * 900_000, max_bytes=ROOM)
    refused("json-integer-range", encode_canonical, 10**5000)
    refused("json-too-many-digits", encode_canonical_lenient, [-(10**4300)])


@pytest.fixture
def few_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("few_digits")
def test_an_interpreter_told_to_convert_fewer_digits_is_obeyed() -> None:
    refused("json-too-many-digits", parse_json_lenient, b"1" * 641, max_bytes=ROOM)
    refused("json-too-many-digits", encode_canonical_lenient, 10**641)


@pytest.mark.req("API-07")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff", "json-not-utf8"),
        (b'"\xed\xa0\x80"', "json-not-utf8"),
        (b'"\xc0\x80"', "json-not-utf8"),
        (b"{}".ljust(11), "json-too-large"),
    ],
)
def test_bytes_that_are_no_text_or_too_many(data: bytes, code: str) -> None:
    refused(code, parse_json, data, max_bytes=10)


def test_an_object_may_be_insisted_on() -> None:
    assert parse_json_object(b' {"a":1}', max_bytes=ROOM) == {"a": 1}
    refused("json-not-object", parse_json_object, b"[1]", max_bytes=ROOM)


class Text(str):
    __slots__ = ()


@pytest.mark.req("CJ-03", "CJ-08")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, "json-not-integer"),
        (1.0, "json-not-integer"),
        (2**53, "json-integer-range"),
        (b"bytes", "json-not-a-value"),
        ({1, 2}, "json-not-a-value"),
        ({1: 2}, "json-not-a-value"),
        ({b"a": 2}, "json-not-a-value"),
        (Text("a"), "json-not-a-value"),
        (collections.OrderedDict(), "json-not-a-value"),
        ([object()], "json-not-a-value"),
        ("\ud800", "json-surrogate"),
        ({"\udfff": 1}, "json-surrogate"),
        (["\ud83d", "\ude00"], "json-surrogate"),
    ],
)
def test_values_that_json_does_not_have_are_not_encoded(value: object, code: str) -> None:
    refused(code, encode_canonical, value)


@pytest.mark.req("CJ-08")
@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, math.nan, 2.0], {"a": -math.inf}])
def test_no_lenient_number_is_infinite_or_none(value: object) -> None:
    refused("json-not-finite", encode_canonical_lenient, value)


@pytest.mark.req("CJ-08")
def test_integers_booleans_and_floats_stay_apart() -> None:
    value = parse_json(b"[1,true,0,false]", max_bytes=ROOM)
    assert [type(each) for each in value] == [int, bool, int, bool]
    assert [type(each) for each in parse_json_lenient(b"[1,1.0]", max_bytes=ROOM)] == [int, float]


def test_tuples_are_arrays() -> None:
    assert encode_canonical(((1, "a"), [2])) == b'[[1,"a"],[2]]'


whole = st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | whole | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.req("CJ-01", "CJ-02", "CJ-04")
@given(values)
def test_canonical_bytes_are_the_deployed_ones_and_read_back(value: Any) -> None:
    data = encode_canonical(value)
    assert data == canonicaljson.encode_canonical_json(value) == encode_canonical_lenient(value)
    assert parse_json(data, max_bytes=len(data)) == value
    spaced = json.dumps(value, indent=1).encode()
    read = parse_json(spaced, max_bytes=len(spaced))
    assert read == value
    assert encode_strictly_read(read) == data
    assert parse_json_lenient(spaced, max_bytes=len(spaced)) == value


@pytest.mark.req("CJ-06")
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_lenient_numbers_are_the_deployed_ones(number: float) -> None:
    data = encode_canonical_lenient({"n": number})
    assert data == canonicaljson.encode_canonical_json({"n": number})
    assert parse_json_lenient(data, max_bytes=ROOM) == {"n": number}


nearly_json = st.text(alphabet='{}[]",:0123456789.-+eEtrufalsn\\ud8b \ud7ff', max_size=40)


@pytest.mark.req("CJ-07", "CJ-08")
@given(st.binary(max_size=60) | nearly_json.map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_value_or_malformed(data: bytes) -> None:
    try:
        value = parse_json(data, max_bytes=ROOM)
    except Malformed:
        return
    assert value == json.loads(data) == parse_json_lenient(data, max_bytes=ROOM)
    assert parse_json(encode_canonical(value), max_bytes=ROOM) == value


@pytest.mark.req("B64-01", "B64-02", "B64-05")
@pytest.mark.parametrize("vector", vectors("base64", "both", "decode"))
def test_base64_is_read_padded_or_not(vector: dict[str, Any]) -> None:
    assert decode_base64(vector["expected"]) == bytes.fromhex(vector["input"])
    assert decode_base64_any(vector["expected"]) == bytes.fromhex(vector["input"])
    if vector["kind"] == "both":
        assert encode_base64(bytes.fromhex(vector["input"])) == vector["expected"]


@pytest.mark.req("B64-03", "B64-04")
@pytest.mark.parametrize("vector", vectors("base64", "decode-any", "urlsafe"))
def test_the_url_safe_alphabet_where_it_is_allowed(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["input"])
    assert decode_base64_any(vector["expected"]) == data
    if vector["kind"] == "urlsafe":
        assert encode_base64_urlsafe(data) == vector["expected"]


@pytest.mark.req("B64-05")
@pytest.mark.parametrize("vector", vectors("base64", "refused"))
def test_bad_base64_is_refused_without_being_repeated(vector: dict[str, Any]) -> None:
    refused(vector["input"], decode_base64, vector["expected"])
    with pytest.raises(Malformed) as caught:
        decode_base64(vector["expected"] * 9 + "secret!")
    assert "secret" not in caught.value.message


@pytest.mark.req("B64-01", "B64-02", "B64-03")
@given(st.binary(max_size=100))
def test_bytes_come_back_from_every_form(data: bytes) -> None:
    text = encode_base64(data)
    padded = text + "=" * (-len(text) % 4)
    for each in (text, padded, encode_base64_urlsafe(data)):
        assert decode_base64_any(each) == data
    assert decode_base64(padded) == data
    assert "=" not in text
