"""Bad input for every parser: ``./dev fuzz [room] [--seconds N]``.

A harness is a file ``fuzz/fuzz_<room>.py`` with ``INVARIANT``, one sentence, and
``check(data)``, which lets nothing out but a broken invariant. It may give
``SEEDS``, good inputs as bytes, to start from. Inputs are random bytes, or seeds
(the harness's, and the strings of ``vectors/``) changed in a few places; the same
``--seed`` gives the same inputs. What breaks an invariant is made smaller, kept
under ``.cache/fuzz`` and can be given again with ``--replay``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib
import json
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

HERE = Path(__file__).parent
KEPT = HERE.parent / ".cache" / "fuzz"
SECONDS_PER_INPUT = 10.0

TOKENS = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\r\n", b"%00", b"../", b"::", b"[", b"]",
    b"{", b"}", b'"', b"\\u0000", b"\\ud800", b"-0", b"1e10", b"1e999", b"9007199254740992", b"NaN",
    b"0x7f", b"127.1", b"::ffff:127.0.0.1", b"xn--", b":99999", b"ed25519:", b"=", b"-", b"_", b".",
    b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\xc0\x0c", b"Content-Length: -1\r\n",
)  # fmt: skip


class Harness(NamedTuple):
    """One room's harness."""

    room: str
    invariant: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


class Finding(NamedTuple):
    """An input that breaks the invariant, and how."""

    data: bytes
    trouble: str


class TooSlow(AssertionError):
    """One input took longer than any may."""


def rooms() -> list[str]:
    """The rooms that have a harness."""
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


def load(room: str) -> Harness:
    """The harness of one room."""
    module = importlib.import_module(f"fuzz.fuzz_{room}")
    seeds = tuple(getattr(module, "SEEDS", ())) + vector_strings()
    return Harness(room, module.INVARIANT, module.check, seeds)


@functools.cache
def vector_strings() -> tuple[bytes, ...]:
    """Strings and objects of the test vectors: things that parsers like."""
    found: dict[bytes, None] = {}
    for path in sorted((HERE.parent / "vectors").glob("*.json")):
        _collect(json.loads(path.read_text()), found)
    return tuple(found) or (b"{}",)


def _collect(value: Any, found: dict[bytes, None]) -> None:
    if isinstance(value, str) and len(value) < 2000:
        found[value.encode("utf-8", "surrogatepass")] = None
    elif isinstance(value, list):
        for each in value:
            _collect(each, found)
    elif isinstance(value, dict):
        text = json.dumps(value)
        if len(text) < 5000:
            found[text.encode()] = None
        for each in value.values():
            _collect(each, found)


# -- inputs ----------------------------------------------------------------------


def inputs(harness: Harness, seed: int) -> Iterator[bytes]:
    """Endless, and the same for the same seed: the seeds as they are, then changed ones."""
    chance = random.Random(f"{harness.room} {seed}")
    yield b""
    yield from harness.seeds
    while True:
        if chance.random() < 0.2:
            yield chance.randbytes(int(chance.expovariate(1 / 40)))
            continue
        data = bytearray(chance.choice(harness.seeds))
        for _ in range(1 + int(chance.expovariate(0.7))):
            chance.choice(CHANGES)(data, chance, harness.seeds)
        yield bytes(data[:100_000])


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randint(0, len(data))


def _span(data: bytearray, chance: random.Random) -> slice:
    start = _place(data, chance)
    return slice(start, start + int(chance.expovariate(1 / 8)) + 1)


def _flip(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _delete(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    del data[_span(data, chance)]


def _double(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    piece = bytes(data[_span(data, chance)])
    place = _place(data, chance)
    data[place:place] = piece * chance.choice((1, 2, 50))


def _insert(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    place = _place(data, chance)
    data[place:place] = chance.choice(TOKENS)


def _replace(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    data[_span(data, chance)] = chance.choice(TOKENS)


def _splice(data: bytearray, chance: random.Random, seeds: tuple[bytes, ...]) -> None:
    other = bytearray(chance.choice(seeds))
    data[_place(data, chance) :] = other[_place(other, chance) :]


def _repeat(data: bytearray, chance: random.Random, _seeds: tuple[bytes, ...]) -> None:
    place = _place(data, chance)
    data[place:place] = chance.choice(TOKENS) * chance.choice((100, 2000))


CHANGES = (_flip, _flip, _delete, _delete, _double, _insert, _insert, _replace, _splice, _repeat)


# -- running ----------------------------------------------------------------------


def trouble_with(harness: Harness, data: bytes) -> str:
    """What goes wrong with one input; nothing if the invariant holds."""
    try:
        with _deadline():
            harness.check(data)
    except Exception:
        return traceback.format_exc()
    return ""


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"one input took more than {SECONDS_PER_INPUT:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(harness: Harness, *, seed: int, count: int, seconds: float) -> tuple[int, Finding | None]:
    """Try ``count`` inputs, or as many as ``seconds`` allow; stop at the first finding."""
    ends = time.monotonic() + seconds
    tried = 0
    for data in inputs(harness, seed):
        if tried >= count or time.monotonic() > ends:
            break
        tried += 1
        trouble = trouble_with(harness, data)
        if trouble:
            return tried, smaller(harness, Finding(data, trouble))
    return tried, None


def smaller(harness: Harness, finding: Finding, seconds: float = 5.0) -> Finding:
    """The same kind of trouble from fewer bytes."""
    ends = time.monotonic() + seconds
    kind = finding.trouble.splitlines()[-1].split(":")[0]
    size = max(1, len(finding.data) // 2)
    while size and time.monotonic() < ends:
        for start in range(0, len(finding.data), size):
            data = finding.data[:start] + finding.data[start + size :]
            trouble = trouble_with(harness, data)
            if trouble.splitlines()[-1:] and trouble.splitlines()[-1].split(":")[0] == kind:
                finding = Finding(data, trouble)
                break
            if time.monotonic() > ends:
                break
        else:
            size //= 2
    return finding


def keep(harness: Harness, finding: Finding) -> Path:
    """Write the input down; returns where."""
    KEPT.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(finding.data).hexdigest()[:12]
    place = KEPT / f"{harness.room}-{name}"
    place.write_bytes(finding.data)
    return place


def main() -> int:
    """One line a room; a finding ends with how to get it again."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("room", nargs="*", help=f"of {', '.join(rooms())}; all without one")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each room (10)")
    parser.add_argument("--seed", type=int, help="the same inputs again; by the clock without it")
    parser.add_argument("--replay", type=Path, help="give one kept input to a room again")
    wanted = parser.parse_args()
    unknown = sorted(set(wanted.room) - set(rooms()))
    if unknown:
        parser.error(f"no harness for {', '.join(unknown)}; there are {', '.join(rooms())}")
    if wanted.replay and len(wanted.room) != 1:
        parser.error("--replay needs one room")
    if wanted.replay:
        trouble = trouble_with(load(wanted.room[0]), wanted.replay.read_bytes())
        print(trouble or "the invariant holds")
        return 1 if trouble else 0
    logging.disable()  # what the parsers say of bad input is not the question here
    seed = int(time.time()) if wanted.seed is None else wanted.seed
    found = [not _one(room, seed, wanted.seconds) for room in wanted.room or rooms()]
    return 1 if any(found) else 0


def _one(room: str, seed: int, seconds: float) -> bool:
    harness = load(room)
    tried, finding = fuzz(harness, seed=seed, count=sys.maxsize, seconds=seconds)
    if finding is None:
        print(f"{room:14} {tried:8} inputs, seed {seed}: {harness.invariant}", flush=True)
        return True
    place = keep(harness, finding)
    print(f"{room:14} BROKEN after {tried} inputs: {harness.invariant}")
    print(finding.trouble)
    print(f"{finding.data[:200]!r}\n./dev fuzz {room} --replay {place}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
