"""Python's garbage collector in a program that serves: as calm as its memory allows.

By default Python looks for cycles after every 700 new objects, and through all that
lives again and again. What we keep for long (caches of names, routes and keys) is no
garbage and has no cycles, so that looking costs more the more peers there are: with
10,000 destinations a third of a delivery. For the process as a whole it is the
program's to decide, so the library leaves it alone.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""New objects before the collector looks at the young ones: some MB of them."""


def calm_collector() -> None:
    """What lives now is never looked at again; the rest, more rarely. Once, after the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
