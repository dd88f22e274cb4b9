"""The X-Matrix header: every form that is read, the one form that is written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.xmatrix import (
    XMatrix,
    format_authorization,
    parse_authorization,
    parse_authorizations,
)

VECTORS = json.loads(Path(__file__, "../../../vectors/x_matrix.json").resolve().read_text())
LIMITS = Limits()
HEADER = 'X-Matrix origin="a.example",destination="b.example",key="ed25519:1",sig="c2ln"'
READ = XMatrix(origin="a.example", destination="b.example", key="ed25519:1", sig="c2ln")


def refused(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> None:
    with pytest.raises(Malformed) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.clause


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if kind in v]


# --- Reading one header ---


@pytest.mark.req(
    "AUTH-08", "AUTH-09", "AUTH-10", "AUTH-11", "AUTH-12", "AUTH-13", "AUTH-15", "AUTH-17",
    "AUTH-19", "AUTH-21", "AMB-01",
)  # fmt: skip
@pytest.mark.parametrize("vector", vectors("expected"))
def test_the_forms_that_are_read(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    read = parse_authorization(vector["header"])
    assert read == (None if expected is None else msgspec.convert(expected, XMatrix))


@pytest.mark.req("AUTH-08", "AUTH-10", "AUTH-11", "AUTH-15", "AUTH-23", "AMB-01")
@pytest.mark.parametrize("vector", vectors("code"))
def test_the_forms_that_are_refused(vector: dict[str, Any]) -> None:
    refused(vector["code"], parse_authorization, vector["header"])


def test_there_are_vectors_enough_and_none_stands_twice() -> None:
    ids = [each["id"] for each in VECTORS["vectors"]]
    headers = [each["header"] for each in VECTORS["vectors"]]
    assert len(set(ids)) == len(set(headers)) == len(ids) >= 60


@pytest.mark.req("AUTH-32")
def test_a_header_is_bounded_before_it_is_read() -> None:
    long = f'{HEADER},x="{"y" * 9000}"'
    refused("xmatrix-too-long", parse_authorization, long)
    read = parse_authorization(long, max_bytes=10_000)
    assert read == READ
    assert parse_authorization("Basic " + "y" * 9000) is None


@pytest.mark.req("AUTH-32")
@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix a="' + "b" * 1_000_000,
        'X-Matrix a="' + "\\a" * 500_000,
        'X-Matrix a="' + "b\\a" * 300_000 + "\x00",
        "X-Matrix" + " " * 1_000_000 + "=",
        "X-Matrix a" + " " * 1_000_000 + "b",
        "X-Matrix a=b" + " ," * 500_000 + "=",
        "X-Matrix " + "a" * 1_000_000,
        "X-Matrix a=" + "=" * 1_000_000 + '"',
        " " * 1_000_000 + "X-Matrix =",
    ],
    ids=lambda header: ascii(header[:14]),
)
def test_reading_takes_linear_time(header: str) -> None:
    refused("xmatrix-syntax", parse_authorization, header, max_bytes=len(header))


@given(st.text(st.sampled_from('X-Matrix orgnkeysdt=",\\ \t:/[]\x00é'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for value in (text, f"X-Matrix {text}", f"{HEADER},{text}"):
        with contextlib.suppress(Malformed):
            read = parse_authorization(value)
            assert read is None or (read.origin and read.key and read.sig)


# --- Writing ---


VISIBLE = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='",\\'), min_size=1
)


@pytest.mark.req("AUTH-14", "AUTH-16")
def test_one_form_is_written() -> None:
    assert format_authorization(READ) == HEADER
    seed = XMatrix(origin="a.example", key="ed25519:1", sig="c2ln")
    assert format_authorization(seed) == 'X-Matrix origin="a.example",key="ed25519:1",sig="c2ln"'


@given(VISIBLE, VISIBLE, VISIBLE, st.none() | VISIBLE)
def test_what_is_written_is_read(origin: str, key: str, sig: str, to: str | None) -> None:
    header = XMatrix(origin=origin, key=key, sig=sig, destination=to)
    assert parse_authorization(format_authorization(header)) == header


@pytest.mark.req("AUTH-14")
@pytest.mark.parametrize("value", ["", 'a"b', "a\\b", "a,b", "a b", "a\tb", "a\r\nb", "é", "\x7f"])
def test_what_some_reader_would_misread_is_not_written(value: str) -> None:
    for field in ("origin", "destination", "key", "sig"):
        changed = msgspec.structs.replace(READ, **{field: value})
        refused("xmatrix-unwritable", format_authorization, changed)


# --- Several headers ---


@pytest.mark.req("AUTH-22", "AMB-02", "D14-12")
def test_a_header_for_each_key() -> None:
    other = HEADER.replace("ed25519:1", "ed25519:2")
    first, second = parse_authorizations((HEADER, "Bearer x", other), LIMITS)
    assert first == READ
    assert second == msgspec.structs.replace(READ, key="ed25519:2")
    assert parse_authorizations([HEADER]) == (READ,)


@pytest.mark.req("AUTH-22")
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((), "xmatrix-missing"),
        (("Bearer x", "Basic eA"), "xmatrix-missing"),  # Another scheme is no X-Matrix.
        ((HEADER, HEADER), "xmatrix-same-key-twice"),
        ((HEADER, HEADER.replace("a.ex", "A.ex")), "xmatrix-mixed-origins"),  # Case counts.
        ((HEADER, HEADER.replace("b.ex", "c.ex")), "xmatrix-mixed-destinations"),
        (
            (HEADER, 'X-Matrix origin="a.example",key="ed25519:2",sig="c2ln"'),
            "xmatrix-mixed-destinations",  # Left out in one of them.
        ),
        ((HEADER, "X-Matrix"), "xmatrix-missing-parameter"),  # One bad header spoils all.
        ((HEADER,) * 17, "xmatrix-too-many"),
        (("Basic eA",) * 17, "xmatrix-too-many"),
        ((HEADER + "," * 9000,), "xmatrix-too-long"),
    ],
)
def test_headers_that_are_refused_together(values: tuple[str, ...], code: str) -> None:
    refused(code, parse_authorizations, values, LIMITS)
