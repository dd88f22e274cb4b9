"""JSON as Matrix signs it: strict in, canonical bytes out; and unpadded base64.

Two servers must agree on every byte of what is signed, so a document has exactly
one canonical form ``[app:canonical-json]``: UTF-8, no white space, keys in the
order of their code points, the shortest escapes, integers within ±(2^53 - 1).

*Strict* parsing refuses whatever has no such form or more than one reading:
floats, ``-0``, larger integers, duplicate keys, lone surrogates. Rooms of
versions 1 to 5 were never held to that, so the *lenient* pair keeps floats and
large integers, lets the last duplicate win, and writes numbers as Python's
``repr`` does, which are the deployed bytes.

How a strict parse is made cheap: decode with msgspec, which stops at a float, and
encode canonically. **If that gives back the received bytes, they were canonical**, which
proves that no key was doubled and no ``-0`` was lost; then only depth and long integers
are left to look for. Other documents are walked, and read a second time by the standard
library with hooks that see every literal. Either way the cost is linear in the size,
which is bounded beforehand.
"""

from __future__ import annotations

import binascii
import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from math import isfinite
from typing import Any, NoReturn, TypeAlias

import msgspec

from ranvier.errors import Malformed
from ranvier.limits import Limits
from ranvier.protocol.text import shown

JsonValue: TypeAlias = Any
"""``None``, ``bool``, ``int``, ``str``, a list or a dict of them (lenient: ``float`` too)."""
JsonObject: TypeAlias = dict[str, Any]

_CANONICAL = "[app:canonical-json]"
_BASE64 = "[app:unpadded-base64]"

GREATEST_INTEGER = 2**53 - 1
MOST_DEPTH = Limits().json_depth
"""How many arrays and objects may stand inside each other in what we receive."""
_ENCODED_DEPTH = 2 * MOST_DEPTH  # What was received may be wrapped before it is signed.
_MOST_DIGITS = 4300  # Of a lenient integer: what Python converts by default, and so its peers.
_BOUND = 10**_MOST_DIGITS


def _no_float(literal: str) -> NoReturn:
    raise msgspec.ValidationError(literal)


_decoder = msgspec.json.Decoder(float_hook=_no_float)
_encoder = msgspec.json.Encoder(order="deterministic")
_lenient_encoder = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, allow_nan=False, check_circular=False, separators=(",", ":")
)


def parse_json(data: bytes, *, max_bytes: int, max_depth: int = MOST_DEPTH) -> JsonValue:
    """The one strict reading of ``data``. Raises Malformed. ``[app:canonical-json]``

    ``max_depth`` counts the arrays and objects around a value: ``[[1]]`` has depth 2.
    """
    return parse_canonical(data, max_bytes=max_bytes, max_depth=max_depth)[0]


def parse_canonical(
    data: bytes, *, max_bytes: int, max_depth: int = MOST_DEPTH
) -> tuple[JsonValue, bytes]:
    """As :func:`parse_json`, with the value's canonical bytes, which cost nothing more."""
    text = _text(data, max_bytes)
    try:
        value, encoded = _quickly_read(data)
    except _UNREADABLE:
        value = _load(text, _STRICT)  # Says what is wrong, or the walk does.
        return value, _encoder.encode(_walked(value, max_depth, _strict_numbers))
    if encoded == data and not _may_have_long_integers(data):
        _check_depth(data, value, max_depth)
        return value, data
    _walked(value, max_depth, _strict_numbers)
    return value if encoded == data else _load(text, _STRICT), encoded


def parse_json_object(data: bytes, *, max_bytes: int, max_depth: int = MOST_DEPTH) -> JsonObject:
    """As :func:`parse_json`, and it must be an object. Raises Malformed."""
    value = parse_json(data, max_bytes=max_bytes, max_depth=max_depth)
    if not isinstance(value, dict):
        raise Malformed(
            "json-not-object",
            f"a JSON object was expected, not a {type(value).__name__}",
            clause=_CANONICAL,
        )
    return value


def parse_json_lenient(
    data: bytes, *, max_bytes: int, max_depth: int = MOST_DEPTH, unique: bool = False
) -> JsonValue:
    """As rooms of versions 1 to 5 need it: floats and large integers are kept. Raises Malformed.

    The last of duplicate keys wins, as in every deployed server, unless ``unique``
    refuses them. NaN, infinities, integers of more than 4,300 digits and lone
    surrogates are refused here too.
    """
    text = _text(data, max_bytes)
    with suppress(*_UNREADABLE):
        value, encoded = _quickly_read(data)
        if encoded == data and not _may_have_long_integers(data):
            _check_depth(data, value, max_depth)
            return value  # What is canonical reads the same either way.
    return _walked(_load(text, _UNIQUE if unique else _LENIENT), max_depth, _lenient_numbers)


def encode_canonical(value: JsonValue) -> bytes:
    """The canonical bytes. Raises Malformed for a value that has none."""
    return _encoder.encode(_walked(value, _ENCODED_DEPTH, _strict_numbers))


def encode_strictly_read(value: JsonValue) -> bytes:
    """As :func:`encode_canonical`, of what a strict reading gave or parts of it: no walk."""
    return _encoder.encode(value)


def encode_canonical_lenient(value: JsonValue) -> bytes:
    """The bytes that rooms of versions 1 to 5 hash and sign. Raises Malformed."""
    walked = _walked(value, _ENCODED_DEPTH, _lenient_numbers)
    try:
        return _lenient_encoder.encode(walked).encode("utf-8")
    except ValueError:  # The interpreter was told to write fewer digits than that.
        raise _too_many_digits() from None


# --- Reading ---


def _text(data: bytes, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise Malformed(
            "json-too-large", f"{len(data)} bytes of JSON; at most {max_bytes}", clause=_CANONICAL
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(
            "json-not-utf8", f"byte {error.start} is not UTF-8", clause=_CANONICAL
        ) from None


_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


def _quickly_read(data: bytes) -> tuple[JsonValue, bytes]:
    """A value without floats, with its canonical bytes. Raises any of ``_UNREADABLE``."""
    value = _decoder.decode(data)
    return value, _encoder.encode(value)


def _load(text: str, decoder: json.JSONDecoder) -> JsonValue:
    """Read by the standard library, which calls the hooks below with each literal."""
    try:
        return decoder.decode(text)
    except Malformed:
        raise
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise Malformed(
            "json-not-json", f"not JSON: {error.msg} at character {error.pos}", clause=_CANONICAL
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise Malformed(
            "json-duplicate-key", f"the key {shown(twice)} stands twice", clause=_CANONICAL
        )
    return value


def _strict_integer(literal: str) -> int:
    if literal == "-0":
        raise _not_integer(literal)
    if len(literal) > len(str(-GREATEST_INTEGER)):  # Converting it could be dear.
        raise _out_of_range()
    return int(literal)


def _lenient_integer(literal: str) -> int:
    try:
        return int(literal)
    except ValueError:  # The interpreter's own limit, which is 4,300 unless somebody set another.
        raise _too_many_digits() from None


def _strict_float(literal: str) -> NoReturn:
    raise _not_integer(literal)


def _constant(literal: str) -> NoReturn:
    raise _not_finite(literal)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_strict_integer,
    parse_float=_strict_float,
    parse_constant=_constant,
)
_LENIENT = json.JSONDecoder(parse_int=_lenient_integer, parse_constant=_constant)
_UNIQUE = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_lenient_integer, parse_constant=_constant
)


# --- Looking at bytes that are known to be canonical ---

_LONG = b"0" * len(str(GREATEST_INTEGER))
_DIGITS_TO_0 = bytes(ord("0") if chr(each) in "0123456789" else 0 for each in range(256))


def _may_have_long_integers(data: bytes) -> bool:
    """Whether so many digits stand together, in a text or not, that they may be too many."""
    return _LONG in data.translate(_DIGITS_TO_0)


def _check_depth(data: bytes, value: JsonValue, max_depth: int) -> None:
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(max_depth + 1):
        if not level:
            return
        level = [
            each
            for outer in level
            for each in (outer.values() if type(outer) is dict else outer)
            if type(each) in _CONTAINERS
        ]
    raise _too_deep()


# --- Walking: msgspec would encode NaN, bytes, sets and dates without a word ---

_CONTAINERS = {list, tuple, dict}
_KINDS = {type(None), bool, int, float, str, *_CONTAINERS}


def _walked(
    value: JsonValue, max_depth: int, check_numbers: Callable[[list[Any]], None]
) -> JsonValue:
    """``value`` itself, once every part of it is known to be fit.

    A whole level at a time: no recursion, and the loops run inside the interpreter.
    """
    level: list[Any] = [value]
    for _ in range(max_depth + 1):
        kinds = set(map(type, level))
        _check_kinds(kinds, _KINDS)
        if str in kinds:
            _check_texts([each for each in level if type(each) is str])
        for kind in kinds & {int, float}:
            check_numbers([each for each in level if type(each) is kind])
        if kinds.isdisjoint(_CONTAINERS):
            return value
        level = _inside(level, kinds)
    raise _too_deep()


def _inside(level: list[Any], kinds: set[type]) -> list[Any]:
    """The next level down, once the keys on the way are known to be fit."""
    inside: list[Any] = []
    if list in kinds or tuple in kinds:
        arrays: list[Any] = [each for each in level if type(each) is list or type(each) is tuple]
        inside.extend(chain.from_iterable(arrays))
    if dict in kinds:
        objects = [each for each in level if type(each) is dict]
        keys = list(chain.from_iterable(objects))
        _check_kinds(set(map(type, keys)), {str})
        _check_texts(keys)
        inside.extend(chain.from_iterable(map(dict.values, objects)))
    return inside


def _check_kinds(kinds: set[type], fit: set[type]) -> None:
    if kinds <= fit:
        return
    unfit = min(each.__name__ for each in kinds - fit)
    raise Malformed("json-not-a-value", f"JSON has no {unfit} here", clause=_CANONICAL)


def _check_texts(texts: list[str]) -> None:
    together = "".join(texts)
    try:
        together.isascii() or together.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed(
            "json-surrogate",
            f"{shown(together[error.start])} is half of a surrogate pair",
            clause=_CANONICAL,
        ) from None


def _strict_numbers(numbers: list[Any]) -> None:
    """All of one type, at least one."""
    if type(numbers[0]) is float:
        raise _not_integer(repr(numbers[0]))
    if min(numbers) < -GREATEST_INTEGER or max(numbers) > GREATEST_INTEGER:
        raise _out_of_range()


def _lenient_numbers(numbers: list[Any]) -> None:
    for number in numbers:
        if type(number) is int:
            if not -_BOUND < number < _BOUND:
                raise _too_many_digits()
        elif not isfinite(number):
            raise _not_finite(str(number))


def _out_of_range() -> Malformed:
    return Malformed(
        "json-integer-range", "an integer is outside -(2^53 - 1) to 2^53 - 1", clause=_CANONICAL
    )


def _not_integer(literal: str) -> Malformed:
    return Malformed(
        "json-not-integer", f"{shown(literal, 40)} is no canonical integer", clause=_CANONICAL
    )


def _not_finite(literal: str) -> Malformed:
    return Malformed("json-not-finite", f"{literal} is no JSON number", clause=_CANONICAL)


def _too_many_digits() -> Malformed:
    return Malformed(
        "json-too-many-digits", f"an integer of more than {_MOST_DIGITS} digits", clause=_CANONICAL
    )


def _too_deep() -> Malformed:
    return Malformed("json-too-deep", "too many arrays or objects in each other", clause=_CANONICAL)


# --- Base64 ---

_STANDARD = re.compile(r"[0-9A-Za-z+/]*={0,2}", re.ASCII)
_URLSAFE = str.maketrans("-_", "+/")


def encode_base64(data: bytes) -> str:
    """The standard alphabet without padding ``[app:unpadded-base64]``."""
    return binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=")


def encode_base64_urlsafe(data: bytes) -> str:
    """With ``-`` and ``_``: only where the text says so, as in event ids (B64-03)."""
    return encode_base64(data).replace("+", "-").replace("/", "_")


def decode_base64(text: str) -> bytes:
    """The standard alphabet, padded or not. Raises Malformed.

    Spare bits in the last character may be set (B64-05): compare bytes, never text.
    Errors do not repeat the text, which may be a secret.
    """
    if not _STANDARD.fullmatch(text):
        raise Malformed(
            "base64-alphabet", "a character that is not of the base64 alphabet", clause=_BASE64
        )
    digits = text.rstrip("=")
    if len(digits) % 4 == 1:
        raise Malformed(
            "base64-length", f"{len(digits)} base64 digits make no whole bytes", clause=_BASE64
        )
    padded = digits + "=" * (-len(digits) % 4)
    if text not in (digits, padded):
        raise Malformed("base64-padding", "the base64 padding is wrong", clause=_BASE64)
    return binascii.a2b_base64(padded)


def decode_base64_any(text: str) -> bytes:
    """As :func:`decode_base64`, from either alphabet: for public keys (B64-04)."""
    return decode_base64(text.translate(_URLSAFE))
