"""Steps of the trail that may be given up because they are no longer needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ranvier.trail import Asked, Outcome, Recorder

NOT_NEEDED = "no longer needed"
"""The message to cancel a task with, when another was faster or its answer is not needed."""


@contextmanager
def asking(
    recorder: Recorder, what: str, question: str, *, number: str = "", clause: str = ""
) -> Iterator[Asked]:
    """As :meth:`Recorder.asking`; what is cancelled as :data:`NOT_NEEDED` is *unused*,
    and what is cancelled otherwise (the time for all of it ran out) has failed."""
    given_up: asyncio.CancelledError | None = None
    with recorder.asking(what, question, number=number, clause=clause) as asked:
        try:
            yield asked
        except asyncio.CancelledError as error:
            given_up = error
            if NOT_NEEDED in error.args:
                asked.answer, asked.outcome = NOT_NEEDED, Outcome.UNUSED
            else:
                asked.failed("given-up", "given up before it ended")
    if given_up is not None:
        raise given_up
