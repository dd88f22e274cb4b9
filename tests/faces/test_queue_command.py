"""``ranvier queue`` on the database of a server: what waits, tried again, dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ranvier.deeds import ItemKind, Outbox, OutItem, Park, SealRule
from ranvier.faces.cli import run
from ranvier.limits import Limits, Ms
from ranvier.net.clock import SystemClock
from ranvier.store.sqlite import SqliteStore

Printed = pytest.CaptureFixture[str]
RULE = SealRule(origin="us.example")
HOUR = 3_600_000


def edu(number: int) -> OutItem:
    body = b'{"content":{"n":%d},"edu_type":"m.x"}' % number
    return OutItem(kind=ItemKind.EDU, body=body)


def on_disk(data: Path, deeds: Callable[[Outbox, Ms], Awaitable[None]]) -> None:
    """Do something to the outbox of the server whose files are in ``data``."""

    async def doing() -> None:
        clock = SystemClock()
        store = await SqliteStore.open(data / "ranvier.db", clock, limits=Limits())
        await deeds(store.outbox, clock.now())
        await store.close()

    asyncio.run(doing())


async def fill(outbox: Outbox, now: Ms) -> None:
    """Lanes in every state; what peers said holds what a terminal would obey."""
    later = Ms(now + HOUR)
    await outbox.add(["fresh.example", "down.example"], [edu(1), edu(2)], now=now)
    await outbox.hold_off(
        "down.example", until=later, because="TCP was refused", failures=7, now=Ms(now - HOUR)
    )
    await outbox.hold_off(
        "quiet.example", until=later, because="it answered 500", failures=1, now=now
    )
    await outbox.add(["busy.example"], [edu(3)], now=now)
    await outbox.take("n", now=now, until=later, most=1, rule=RULE, only="busy.example")
    poison = OutItem(kind=ItemKind.PDU, body=b"{}", event_id="$poison\x1b[31m")
    await outbox.add(["poison.example"], [poison], now=now)
    (sealed,) = await outbox.take(
        "n", now=now, until=later, most=1, rule=RULE, only="poison.example"
    )
    await outbox.settle(
        sealed, Park(because="it answered 400 \x1b[2J"), now=now, until=now, rule=RULE
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    on_disk(tmp_path, fill)
    return tmp_path


def asked(printed: Printed, data: Path, *words: str, code: int = 0) -> str:
    """What the command printed."""
    assert run(["queue", *words, "--data", str(data)]) == code
    return printed.readouterr().out


def asked_for_data(printed: Printed, data: Path, *words: str, code: int = 0) -> Any:
    return json.loads(asked(printed, data, *words, "--json", code=code))


def test_every_lane_says_what_waits_when_it_is_tried_and_why(data: Path, printed: Printed) -> None:
    lines = asked(printed, data).splitlines()
    assert "fresh.example  2 waiting (72 bytes), due now" in lines
    assert "busy.example  1 waiting (36 bytes), being sent" in lines
    (down,) = (n for n, line in enumerate(lines) if line.startswith("down.example"))
    assert lines[down].startswith("down.example  2 waiting (72 bytes), next try 2")
    assert lines[down + 1].startswith("    7 failures since 2")
    assert lines[down + 1].endswith("UTC: TCP was refused")
    assert any(line.startswith("    1 failure since") for line in lines)
    assert max(map(len, lines)) <= 80


def test_what_is_parked_is_shown_and_nothing_in_it_acts_on_the_terminal(
    data: Path, printed: Printed
) -> None:
    out = asked(printed, data, "poison.example")
    assert out.splitlines() == [
        "poison.example  0 waiting (0 bytes), 1 parked",
        "    parked pdu $poison\\x1b[31m: it answered 400 \\x1b[2J",
    ]


def test_as_data_there_are_the_same_facts(data: Path, printed: Printed) -> None:
    told = asked_for_data(printed, data)
    lanes = {each["destination"]: each for each in told["lanes"]}
    assert (lanes["down.example"]["waiting"], lanes["down.example"]["failures"]) == (2, 7)
    assert lanes["busy.example"]["leased_by"] == "n"
    (parked,) = told["parked"]
    assert (parked["event_id"], parked["body"]) == ("$poison\x1b[31m", "{}")


def test_an_empty_queue_says_so(tmp_path: Path, printed: Printed) -> None:
    on_disk(tmp_path, lambda outbox, now: outbox.add([], [], now=now))
    assert asked(printed, tmp_path) == "nothing waits\n"
    assert asked(printed, tmp_path, "a.example") == "nothing waits for a.example\n"
    assert asked_for_data(printed, tmp_path) == {"lanes": [], "parked": []}


def test_retry_makes_a_lane_due_and_puts_back_what_was_parked(data: Path, printed: Printed) -> None:
    out = asked(printed, data, "down.example", "--retry")
    assert out.splitlines()[0] == "down.example is due now; parked items put back: 0"
    assert asked(printed, data, "down.example").endswith("2 waiting (72 bytes), due now\n")
    told = asked_for_data(printed, data, "poison.example", "--retry")
    assert told == {"destination": "poison.example", "found": True, "put_back": 1}
    assert asked_for_data(printed, data)["parked"] == []
    assert asked(printed, data, "nobody.example", "--retry", code=1) == (
        "nothing waits for nobody.example\n"
    )


def test_drop_forgets_what_waits_or_only_what_is_parked(data: Path, printed: Printed) -> None:
    out = asked(printed, data, "fresh.example", "--drop", "--parked", code=1)
    assert out == "dropped for fresh.example: 0\n"
    assert asked(printed, data, "fresh.example", "--drop") == "dropped for fresh.example: 2\n"
    assert asked(printed, data, "fresh.example") == "nothing waits for fresh.example\n"
    told = asked_for_data(printed, data, "poison.example", "--drop", "--parked")
    assert told == {"destination": "poison.example", "dropped": 1}


def test_the_configuration_of_the_server_names_its_database(data: Path, printed: Printed) -> None:
    (data / "ranvier.toml").write_text('server_name = "us.example"\n')
    assert run(["queue", "busy.example", "--config", str(data / "ranvier.toml")]) == 0
    assert "being sent" in printed.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--retry"], "give a destination"),
        (["--drop"], "give a destination"),
        (["a.example", "--retry", "--drop"], "not both"),
        (["a.example", "--parked"], "--parked goes with"),
        (["https://a.example"], "A server name is HOST or HOST:PORT"),
    ],
)
def test_wrong_usage_changes_nothing_and_is_exit_code_2(
    data: Path, printed: Printed, words: list[str], said: str
) -> None:
    assert run(["queue", *words, "--data", str(data)]) == 2
    out, err = printed.readouterr()
    assert out == ""
    assert said in err


def test_where_no_server_has_run_nothing_is_made(tmp_path: Path, printed: Printed) -> None:
    assert run(["queue", "--data", str(tmp_path / "none")]) == 2
    assert "there is no database" in printed.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_no_database_is_could_not_ask(tmp_path: Path, printed: Printed) -> None:
    (tmp_path / "ranvier.db").write_text("hello")
    assert run(["queue", "--data", str(tmp_path)]) == 3
    assert "Traceback" not in printed.readouterr().err
    told = asked_for_data(printed, tmp_path, code=3)
    assert told["error"]["kind"] == "StoreFault"


@pytest.fixture
def printed(capsys: Printed) -> Printed:
    """What the command printed."""
    return capsys
