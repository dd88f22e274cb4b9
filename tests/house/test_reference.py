"""The reference pages are what the source says: help screens, codes, configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
from tools import reference

from ranvier.config import Config, load_config
from tests.house.codes import find_codes
from tests.house.tree import ROOT

DOCS = ROOT / "docs"
CONFIG = DOCS / "reference" / "config.md"


def test_the_page_of_errors_is_what_the_source_says() -> None:
    """``--update-error-texts`` renews it together with the snapshot (test_errors)."""
    assert reference.ERRORS.read_text() == reference.errors_page(), "run: python -m tools.reference"


def test_every_code_has_a_sentence_and_no_sentence_is_left_over() -> None:
    codes, _ = find_codes()
    ours = set(reference.composed())
    known = reference.needed(codes) | {each.code for each in codes}
    assert not reference.needed(codes) - ours, "write a line in tools/sentences.toml"
    assert not ours - known, "no such code any more"


def test_the_help_screens_in_the_reference_are_the_ones_printed() -> None:
    text = reference.CLI.read_text()
    assert text == reference.with_screens(text), "run: python -m tools.reference"
    for words in _commands():
        assert f"<!-- help{words} -->" in text


def _commands() -> list[str]:
    """What stands behind ``help`` in the marks, for every command."""
    keys = [" keys fetch", " keys generate", " keys show"]
    return ["", " resolve", " serve", " request", " queue", " demo 2014", *keys]


def test_the_example_of_the_configuration_loads(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```toml\n(.*?)```", CONFIG.read_text(), re.DOTALL)
    path = tmp_path / "ranvier.toml"
    path.write_text(example)
    config = load_config(path)
    assert config.peers
    assert config.old_keys()


def test_every_setting_is_in_the_reference() -> None:
    text = CONFIG.read_text()
    assert not [name for name in _settings(Config, "") if f"`{name}`" not in text]


def _settings(kind: type, place: str) -> list[str]:
    """The dotted names of all settings, ``peers.names`` for those of a list's tables."""
    found = []
    for each in msgspec.structs.fields(kind):
        inner = next((arg for arg in get_args(each.type) if _is_table(arg)), each.type)
        name = f"{place}{each.name}"
        found += _settings(inner, f"{name}.") if _is_table(inner) else [name]
    return found


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def test_every_snippet_of_configuration_in_the_documents_loads(tmp_path: Path) -> None:
    for page in (*DOCS.rglob("*.md"), ROOT / "README.md"):
        for number, snippet in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)):
            path = tmp_path / f"{page.stem}-{number}.toml"
            path.write_text(snippet)
            load_config(path)


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    rooms = ("tutorial", "howto", "reference", "explanation")
    pages = [path for room in rooms for path in (DOCS / room).glob("*.md")]
    assert not [path.name for path in pages if f"({path.relative_to(DOCS)})" not in index]
