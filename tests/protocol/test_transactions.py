"""Transactions: strict about the envelope, patient with its items, byte-exact when written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.errors import Malformed
from ranvier.limits import Limits, Ms
from ranvier.protocol.canonical import encode_canonical, parse_json_lenient
from ranvier.protocol.transactions import (
    ItemResult,
    ItemVerdict,
    ParsedTransaction,
    RawItem,
    build_answer,
    build_transaction,
    content_digest,
    item_digest,
    parse_answer,
    parse_send_path,
    parse_transaction,
    send_path,
)

LIMITS = Limits()
VECTORS = json.loads(Path(__file__, "../../../vectors/transactions.json").resolve().read_text())
HEAD = b'"origin":"a.example","origin_server_ts":5'


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


def parsed(body: bytes, *, seed: bool = False) -> ParsedTransaction:
    return parse_transaction(body, limits=LIMITS, seed=seed)


def refused(code: str, call: Callable[..., object], *args: object, **kwargs: object) -> None:
    with pytest.raises(Malformed) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.clause.startswith("[")


# --- The envelope ---


@pytest.mark.req("TXN-04", "TXN-15", "D14-03", "D14-04", "D14-05", "D14-06")
@pytest.mark.parametrize("vector", vectors("transaction"))
def test_envelopes_that_are_read(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    transaction = parsed(vector["input"].encode(), seed=vector.get("seed", False))
    assert transaction.origin == expected["origin"]
    assert transaction.origin_server_ts == expected["origin_server_ts"]
    assert [_shown(each) for each in transaction.pdus] == expected["pdus"]
    assert [_shown(each) for each in transaction.edus] == expected.get("edus", [])
    assert transaction.txn_id_in_body == expected.get("transaction_id", "")
    assert list(transaction.previous_ids) == expected.get("previous_ids", [])


def _shown(item: RawItem) -> str:
    return item.raw.decode() if item.value is not None else item.code


@pytest.mark.req("TXN-04", "D14-04", "D16", "SEC-05")
@pytest.mark.parametrize("vector", vectors("refused"))
def test_envelopes_that_are_refused(vector: dict[str, Any]) -> None:
    refused(vector["expected"], parsed, vector["input"].encode(), seed=vector.get("seed", False))


@pytest.mark.req("D16", "SEC-05")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{" + HEAD + b',"pdus":["\xff"]}', "transaction-not-json"),  # not UTF-8
        (b'{"origin":"\\ud800"}', "transaction-not-json"),  # half a pair is no Unicode
        (b"{" + HEAD + b',"x":' + b"[" * 9999 + b"]" * 9999 + b"}", "transaction-too-deep"),
        (b'{"pdus":[{"a":' + b"[" * 99 + b"]" * 99 + b"}]," + HEAD + b"}", "transaction-too-deep"),
        (b" " * (LIMITS.transaction_bytes + 1), "transaction-too-large"),
    ],
)
def test_bytes_that_are_no_transaction_are_refused_whole(body: bytes, code: str) -> None:
    refused(code, parsed, body)


def test_a_body_too_deep_for_the_slower_reading_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shallow:
        def decode(self, text: str) -> object:
            raise RecursionError

    monkeypatch.setattr("ranvier.protocol.transactions._pairs", Shallow())
    refused("transaction-too-deep", parsed, b"{ " + HEAD + b',"pdus":[]}')


@pytest.mark.req("D16")
def test_the_deepest_item_that_fits_is_read() -> None:
    deepest = b'{"a":' + b"[" * 97 + b"]" * 97 + b"}"
    assert parsed(b'{"pdus":[' + deepest + b"]," + HEAD + b"}").pdus[0].raw == deepest


@pytest.mark.req("TXN-02", "TXN-03")
@pytest.mark.parametrize(("kind", "most"), [("pdus", 50), ("edus", 100)])
def test_over_the_limit_is_refused_as_a_whole(kind: str, most: int) -> None:
    def body(count: int) -> bytes:
        items = {"pdus": b"", "edus": b"", kind: b",".join([b"{}"] * count)}
        return b"{%b,%b}" % (
            HEAD,
            b",".join(b'"%b":[%b]' % (k.encode(), v) for k, v in items.items()),
        )

    assert len(getattr(parsed(body(most)), kind)) == most
    refused("transaction-too-many", parsed, body(most + 1))


@pytest.mark.req("TXN-18")
def test_fifty_of_the_greatest_events_are_taken() -> None:
    pdu = b'{"a":"' + b"x" * (LIMITS.event_bytes - 8) + b'"}'
    edu = b'{"content":{},"edu_type":"m.x"}'
    transaction = parsed(build_transaction("a.example", Ms(5), [pdu] * 50, [edu] * 100))
    assert [len(each.raw) for each in transaction.pdus] == [LIMITS.event_bytes] * 50


@pytest.mark.req("D16", "TXN-16", "TXN-05")
@pytest.mark.parametrize(
    ("item", "code"),
    [
        (b"5", "transaction-item-not-object"),
        (b"null", "transaction-item-not-object"),
        (b"[{}]", "transaction-item-not-object"),
        (b'{"a":1e999}', "json-not-finite"),
        (b'{"a":' + b"1" * 5000 + b"}", "json-too-many-digits"),
    ],
)
def test_a_bad_item_spoils_only_itself(item: bytes, code: str) -> None:
    bad, good = parsed(b'{"pdus":[' + item + b',{"a":1.5,"a":2}],' + HEAD + b"}").pdus
    assert bad == RawItem(raw=item, value=None, code=code, problem=bad.problem)
    assert bad.problem
    assert good == RawItem(raw=b'{"a":1.5,"a":2}', value={"a": 2})


def test_many_members_of_the_envelope_cost_no_more_than_their_bytes() -> None:
    many = b",".join(b' "%d":0' % each for each in range(50_000))
    assert parsed(b"{" + many + b"," + HEAD + b',"pdus":[]}').origin == "a.example"


# --- Written ---

TEXTS = st.text()
OBJECTS = st.dictionaries(TEXTS, st.none() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS)


@pytest.mark.req("TXN-20", "REF14-17", "CJ-01")
@given(
    TEXTS,
    st.integers(0, 2**53 - 1),
    st.lists(OBJECTS, max_size=4),
    st.lists(OBJECTS, max_size=4),
)
def test_what_is_spliced_is_the_canonical_json_of_the_whole(
    origin: str, ts: int, pdus: list[dict[str, object]], edus: list[dict[str, object]]
) -> None:
    body = build_transaction(
        origin, Ms(ts), list(map(encode_canonical, pdus)), list(map(encode_canonical, edus))
    )
    whole = {"origin": origin, "origin_server_ts": ts, "pdus": pdus}
    whole |= {"edus": edus} if edus else {}
    assert body == canonicaljson.encode_canonical_json(whole)
    transaction = parsed(body)
    assert (transaction.origin, transaction.origin_server_ts) == (origin, ts)
    assert [each.value for each in transaction.pdus] == pdus
    assert [each.value for each in transaction.edus] == edus


@pytest.mark.req("D35", "TXN-09")
def test_digests_are_of_the_bytes() -> None:
    assert content_digest(b"{}") == hashlib.sha256(b"{}").digest()
    assert item_digest(b"{}") == hashlib.sha256(b"{}").digest()[:16]


# --- The path ---


@pytest.mark.req("TXN-01", "D14-07", "D14-10")
@pytest.mark.parametrize("vector", vectors("path"))
def test_paths_that_are_read(vector: dict[str, Any]) -> None:
    seed = vector.get("seed", False)
    assert parse_send_path(vector["input"], seed=seed) == vector["expected"]


@pytest.mark.req("TXN-01", "D14-10")
@pytest.mark.parametrize("vector", vectors("path-refused"))
def test_paths_that_are_refused(vector: dict[str, Any]) -> None:
    seed = vector.get("seed", False)
    refused(vector["expected"], parse_send_path, vector["input"], seed=seed)


@pytest.mark.req("TXN-01", "D14-07")
def test_our_paths() -> None:
    assert send_path("17-x_Y") == "/_matrix/federation/v1/send/17-x_Y"
    assert send_path("17-x_Y", seed=True) == "/_matrix/federation/v1/send/17-x_Y/"
    assert send_path("a/b?c%#ü") == "/_matrix/federation/v1/send/a%2Fb%3Fc%25%23%C3%BC"
    refused("transaction-id-length", send_path, "")
    refused("transaction-id-length", send_path, "x" * 256)
    refused("transaction-id-encoding", send_path, "\ud800")
    refused("transaction-id-length", parse_send_path, "/_matrix/federation/v1/send/" + "x" * 256)


@given(st.text(min_size=1, max_size=60), st.booleans())
def test_a_path_gives_its_id_back(txn_id: str, seed: bool) -> None:
    assert parse_send_path(send_path(txn_id, seed=seed), seed=seed) == txn_id


# --- Answers ---


@pytest.mark.req("TXN-05", "TXN-06", "D37", "REF14-17")
@pytest.mark.parametrize("vector", vectors("answer"))
def test_answers_that_are_read(vector: dict[str, Any]) -> None:
    results = parse_answer(
        vector["input"].encode(), vector["sent"], limits=LIMITS, seed=vector.get("seed", False)
    )
    expected = {
        event_id: ItemResult(ItemVerdict.ERROR, said["error"])
        if isinstance(said, dict)
        else ItemResult(ItemVerdict(said))
        for event_id, said in vector["expected"].items()
    }
    assert results.items == expected
    assert results.foreign == vector.get("foreign", 0)


@pytest.mark.req("TXN-05", "REF14-17", "SEC-06")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"null", "transaction-answer-pdus"),  # of 2014 only
        (b"[]", "transaction-answer-pdus"),
        (b"{}", "transaction-answer-pdus"),
        (b'{"pdus":[]}', "transaction-answer-pdus"),
        (b"", "transaction-answer-not-json"),
        (b"<html>", "transaction-answer-not-json"),
        (b"[" * 9999, "transaction-answer-not-json"),
        (b" " * (LIMITS.answer_bytes + 1), "transaction-answer-not-json"),
    ],
)
def test_answers_that_are_refused(body: bytes, code: str) -> None:
    refused(code, parse_answer, body, ["$a"], limits=LIMITS)
    if body != b"null":
        refused(code, parse_answer, body, ["$a"], limits=LIMITS, seed=True)


def test_a_long_error_text_is_cut() -> None:
    body = json.dumps({"pdus": {"$a": {"error": "x" * 10_000}, "$b": {"error": [0] * 5000}}})
    items = parse_answer(body.encode(), ["$a", "$b"], limits=LIMITS).items
    assert items["$a"] == ItemResult(ItemVerdict.ERROR, "x" * 500)
    assert len(items["$b"].error) < 100


@pytest.mark.req("TXN-05", "TXN-06", "TXN-07")
def test_our_answer_gives_each_result_by_its_event_id() -> None:
    answer = build_answer({"$b": "no such room", "$a": None})
    assert answer == b'{"pdus":{"$a":{},"$b":{"error":"no such room"}}}'
    assert build_answer({}) == b'{"pdus":{}}'
    refused("json-surrogate", build_answer, {"$a": "\ud800"})


@given(
    st.dictionaries(
        TEXTS.filter(bool),
        st.none() | st.text(max_size=100),
    )
)
def test_an_answer_is_read_as_it_was_meant(results: dict[str, str | None]) -> None:
    answer = build_answer(results)
    assert parse_json_lenient(answer, max_bytes=len(answer))
    read = parse_answer(answer, results, limits=LIMITS)
    assert read.foreign == 0
    for event_id, error in results.items():
        verdict = ItemVerdict.ACCEPTED if error is None else ItemVerdict.ERROR
        assert read.items[event_id] == ItemResult(verdict, error or "")
