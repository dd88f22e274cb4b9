"""The garbage collector of a program that serves."""

from __future__ import annotations

import gc

from ranvier.faces.collector import YOUNG_OBJECTS, calm_collector


def test_what_lives_at_the_start_is_left_alone_and_the_rest_looked_at_more_rarely() -> None:
    before = gc.get_threshold()
    try:
        calm_collector()
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
        assert gc.get_freeze_count() > 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
