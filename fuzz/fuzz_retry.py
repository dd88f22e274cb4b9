"""Any status, header and body as the answer to a transaction."""

from __future__ import annotations

from ranvier.limits import Limits, Ms
from ranvier.protocol.retry import NoGood, Ok, TryLater, classify

INVARIANT = (
    "Any answer has a meaning: 200 is good, only 400 and 413 blame the items, and nobody keeps us"
    " away for longer than the limit or makes us print what is no error code."
)

SEEDS = (
    b"\xad\x01120",
    b"\xf7\x01Thu, 01 Jan 2026 00:05:00 GMT",
    b'\xad\x01{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}',
    b'\x90\x01{"errcode":"M_BAD_JSON","error":"x"}',
)

_LIMITS = Limits()
_NOW = Ms(1_767_225_600_000)


def check(data: bytes) -> None:
    status, rest = int.from_bytes(data[:2], "little") % 600, data[2:]
    outcome = classify(
        status, now=_NOW, limits=_LIMITS, retry_after=rest.decode("latin-1"), body=rest
    )
    assert isinstance(outcome, Ok) == (status == 200)
    if isinstance(outcome, NoGood):
        assert status in (400, 413)
    if isinstance(outcome, TryLater):
        wait = outcome.not_before - _NOW
        assert outcome.not_before == 0 or 0 < wait <= _LIMITS.back_off_max_seconds * 1000
    if not isinstance(outcome, Ok):
        assert outcome.because.isascii()
        assert outcome.because.isprintable()
        assert len(outcome.because) < 100
