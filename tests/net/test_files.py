"""Secrets are made once, whole, for us alone, and never overwritten."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ranvier.errors import BadConfiguration
from ranvier.net.files import MOST_BYTES, Watch, create_once, is_there, read_file, read_secret
from tests.rigs.listening import ShiftedClock


def test_a_secret_is_for_us_alone_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    assert create_once(path, b"words", b"1")
    assert read_secret(path) == b"words"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"first")
    assert not create_once(path, b"second", b"1")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["file/secret", "folder/" + "x" * 300])
def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfiguration) as caught:
        create_once(tmp_path / place, b"words", b"1")
    assert caught.value.code == "file-not-writable"


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        read_file(tmp_path / "nothing")
    assert caught.value.code == "file-not-readable"


def test_a_huge_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(BadConfiguration) as caught:
        read_file(tmp_path / "huge")
    assert caught.value.code == "file-too-large"


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
def test_what_is_no_ordinary_file_is_an_error_and_never_waited_for(
    tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    kind(tmp_path / "odd")
    with pytest.raises(BadConfiguration) as caught:
        read_secret(tmp_path / "odd")
    assert caught.value.code in ("file-not-ordinary", "file-not-readable")


@pytest.mark.parametrize("place", ["x" * 300, "loop/a"])
def test_where_we_may_not_even_look_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BadConfiguration) as caught:
        is_there(tmp_path / place)
    assert caught.value.code == "file-not-readable"


def test_a_folder_that_cannot_be_read_may_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = os.open

    def opening(path: Path, flags: int, *rest: int) -> int:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied")
        return kept(path, flags, *rest)

    monkeypatch.setattr(os, "open", opening)
    assert create_once(tmp_path / "secret", b"words", b"1")
    assert is_there(tmp_path / "secret")
    assert not is_there(tmp_path / "other")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_secret_open_to_others_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"words")
    path.chmod(mode)
    with pytest.raises(BadConfiguration, match="chmod 600") as caught:
        read_secret(path)
    assert caught.value.code == "secret-file-open"
    assert "words" not in str(caught.value)


def test_a_tls_key_may_be_readable_for_its_group_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"words")
    path.chmod(0o640)
    assert read_secret(path, group_may_read=True) == b"words"
    assert "can be read by its group" in caplog.text
    path.chmod(0o660)
    with pytest.raises(BadConfiguration):
        read_secret(path, group_may_read=True)


def test_a_watch_tells_a_change_a_replacement_and_a_loss(tmp_path: Path) -> None:
    path, clock = tmp_path / "watched", ShiftedClock()
    path.write_bytes(b"1")
    clock.ahead = 60
    watch = Watch((path,), clock)
    assert watch.changed()
    assert not watch.changed()
    path.write_bytes(b"22")
    assert watch.changed()
    assert not watch.changed()
    other = tmp_path / "other"
    other.write_bytes(b"33")
    other.rename(path)
    assert watch.changed()
    path.unlink()
    assert watch.changed()
    assert not watch.changed()


def test_a_file_just_written_counts_as_changed(tmp_path: Path) -> None:
    path = tmp_path / "watched"
    path.write_bytes(b"1")
    watch = Watch((path,), ShiftedClock())
    assert watch.changed()
    assert watch.changed()
