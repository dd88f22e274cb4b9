"""Any bytes as a transaction, as its answer, and as its path."""

from __future__ import annotations

import contextlib
import json

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.canonical import encode_canonical_lenient
from ranvier.protocol.transactions import (
    ItemVerdict,
    build_transaction,
    parse_answer,
    parse_send_path,
    parse_transaction,
    send_path,
)

INVARIANT = (
    "A transaction, an answer or a path is refused with a code, or gives what the standard library"
    " finds there, an item being a slice of the body that holds its value."
)

SEEDS = (
    b'{"edus":[{"content":{},"edu_type":"m.x"}],"origin":"a","origin_server_ts":5,"pdus":[{"a":1}]}',
    b'{ "ts":5, "origin":"a", "prev_ids":["b"], "transaction_id":"c", "pdus":[1.5,{"a":[]}] }',
    b'{"pdus":{"$a":{},"$b":{"error":"no"}}}',
    b"/_matrix/federation/v1/send/a%2Fb/?x",
)

_LIMITS = Limits()


def check(data: bytes) -> None:
    for seed in (False, True):
        with contextlib.suppress(Malformed):
            _transaction(data, seed=seed)
        with contextlib.suppress(Malformed):
            results = parse_answer(data, ("$a", "$c"), limits=_LIMITS, seed=seed)
            assert set(results.items) == {"$a", "$c"}
            for each in results.items.values():
                assert not each.error or each.verdict is ItemVerdict.ERROR
        with contextlib.suppress(Malformed):
            txn_id = parse_send_path(data.decode("latin-1"), seed=seed)
            assert parse_send_path(send_path(txn_id, seed=seed), seed=seed) == txn_id


def _transaction(data: bytes, *, seed: bool) -> None:
    transaction = parse_transaction(data, limits=_LIMITS, seed=seed)
    whole = json.loads(data)
    assert transaction.origin == whole["origin"]
    for items, values in (
        (transaction.pdus, whole["pdus"]),
        (transaction.edus, whole.get("edus", [])),
    ):
        assert len(items) == len(values)
        for item, value in zip(items, values, strict=True):
            assert item.raw in data
            assert bool(item.code) == (item.value is None)
            if item.value is not None:
                assert item.value == value == json.loads(item.raw)
    good = [encode_canonical_lenient(each.value) for each in transaction.pdus if not each.code]
    again = build_transaction(transaction.origin, transaction.origin_server_ts, good)
    read = parse_transaction(again, limits=_LIMITS)
    assert [each.raw for each in read.pdus] == good
    assert read.origin_server_ts == transaction.origin_server_ts
