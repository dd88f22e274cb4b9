"""``ranvier demo 2014``: the story on the terminal."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ranvier.faces.demo.acts import Act, Play
from ranvier.faces.demo.stage import set_up
from ranvier.faces.outcome import GOOD, NO
from ranvier.faces.text import printable, render_trail, wrapped

INTRODUCTION = (
    "Two home servers as the federation text of November 2014 describes them. They run in"
    " this process, on real sockets with real TLS; their DNS is made for the play, and"
    " nothing leaves this machine."
)


async def demo_2014() -> int:
    """Play it. The command's help stands in ``faces.cli``."""
    print("\n".join(wrapped(INTRODUCTION, later="")))
    held = True
    with TemporaryDirectory(prefix="ranvier-demo-") as folder:
        async with set_up(Path(folder)) as stage:
            number = 0
            async for act in Play(stage).acts():
                number += 1
                print("\n" + "\n".join(_told(number, act)), flush=True)
                held = held and act.held
    print("\nEverything went as it was meant to." if held else "\nNot all went as it was meant to.")
    return GOOD if held else NO


def _told(number: int, act: Act) -> list[str]:
    heading = f"{number}. {act.title}"
    lines = [f"{heading}  {act.clause}", "-" * len(heading)]
    lines += wrapped(act.meant, later="")
    if act.trail:
        lines += ["", render_trail(act.trail), ""]
    for each in act.seen:
        lines += wrapped(printable(each), first="  * ", later="    ")
    if not act.held:
        lines.append("  FAIL: this is not what was meant to happen")
    return lines
