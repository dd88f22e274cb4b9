"""Strangers' text, made fit to stand in one of our sentences."""

from __future__ import annotations


def shown(value: object, most: int = 80) -> str:
    """``value`` quoted, in ASCII, without control characters, at most ~``most`` long.

    Escape sequences, right-to-left marks and megabytes do not reach a terminal
    or a log through an error message.
    """
    if isinstance(value, str | bytes):
        cut = value[: most + 1]
        return ascii(cut) if len(value) <= most else f"{cut[:most]!a}..."
    quoted = ascii(value)
    return quoted if len(quoted) <= most else f"{quoted[:most]}..."
