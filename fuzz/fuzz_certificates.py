"""Any bytes as a certificate, and as a chain of them."""

from __future__ import annotations

from ranvier.errors import Malformed
from ranvier.limits import Ms
from ranvier.protocol.certificates import (
    examine_leaf,
    read_certificate,
    same_certificate,
)
from ranvier.protocol.chains import explain_chain
from ranvier.protocol.conditions import first_fatal
from ranvier.protocol.names import TlsName

INVARIANT = (
    "Certificate bytes give facts or Malformed; without a known root no chain is good,"
    " and every sentence about them is plain ASCII."
)

NOW = Ms(1_800_000_000_000)
NAMES = (TlsName("hs.test"), TlsName("192.0.2.7", is_ip=True))


def check(data: bytes) -> None:
    try:
        facts = read_certificate(data)
    except Malformed:
        facts = None
    assert same_certificate(data, data) == bool(data)
    half = len(data) // 2
    for name in NAMES:
        leaf = examine_leaf(data, name, NOW)
        assert leaf[0].failed == (facts is None)
        for chain in ((data,), (data, data), (data[:half], data[half:])):
            conditions = explain_chain(chain, name, NOW, (data[:half],))
            assert first_fatal(conditions) is not None
            assert all(each.sentence.isascii() for each in (*leaf, *conditions))
