"""Files of ours: secrets made once and never overwritten, and files watched for change.

A secret is written whole to a file beside its place, with mode 0600, and then
linked into place. The link fails if something is there already, so that two
processes starting at once end up with the same secret and a crash leaves either
all of it or nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path

from ranvier.errors import BadConfiguration
from ranvier.plugs import Clock

SETTLED_MS = 2_000
"""A file written less than this ago may change again without its time changing."""

MOST_BYTES = 1_048_576

logger = logging.getLogger("ranvier.files")


def create_once(path: Path, content: bytes, random: bytes, *, mode: int = 0o600) -> bool:
    """Make a file whole, or leave the one that is there. ``False``: one was there.

    ``random`` makes the name of the file beside it unique.

    Raises: BadConfiguration.
    """
    beside = path.with_name(f".{path.name}.{random.hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from None
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise _not_writable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    _sync_folder(path.parent)
    return True


def _not_writable(path: Path, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        "file-not-writable", f"{path} cannot be made: {error.strerror or error}"
    )


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # one that we may write to, but not read
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_there(path: Path) -> bool:
    """Whether there is a file to read. Raises: BadConfiguration (we may not even look)."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _not_readable(path, error) from None
    return True


def read_file(path: Path) -> bytes:
    """A file of ours, whole. Raises: BadConfiguration."""
    return _read(path)[0]


def _read(path: Path) -> tuple[bytes, int]:
    """Content and mode. Never waits: a pipe, a terminal, a device are no files of ours."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MOST_BYTES + 1) if stat.S_ISREG(mode) else None
    except OSError as error:
        raise _not_readable(path, error) from None
    if content is None:
        raise BadConfiguration("file-not-ordinary", f"{path} is no ordinary file")
    if len(content) > MOST_BYTES:
        raise BadConfiguration("file-too-large", f"{path} has more than {MOST_BYTES} bytes")
    return content, stat.S_IMODE(mode)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _not_readable(path: Path, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        "file-not-readable", f"{path} cannot be read: {error.strerror or error}"
    )


def read_secret(path: Path, *, group_may_read: bool = False) -> bytes:
    """A private key's file; refused if others may read or change it.

    ``group_may_read``: for TLS keys, which distributions keep readable for a group
    (Debian's ``ssl-cert``); a warning is logged then.

    Raises: BadConfiguration.
    """
    content, mode = _read(path)
    open_to_others = mode & 0o077
    if group_may_read and open_to_others == stat.S_IRGRP:
        logger.warning("%s can be read by its group (mode %04o)", path, mode)
    elif open_to_others:
        raise BadConfiguration(
            "secret-file-open",
            f"{path} is open to other users (mode {mode:04o}); run: chmod 600 {path}",
        )
    return content


class Watch:
    """Whether files have changed since the last look. A look costs one ``stat`` a file."""

    def __init__(self, paths: tuple[Path, ...], clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self._seen: tuple[object, ...] | None = None

    def changed(self) -> bool:
        """Whether to read them again.

        Also true while one was written within the last :data:`SETTLED_MS`, because
        a second change may not show in its time: compare contents.
        """
        now = self._clock.now()
        marks = tuple(_mark(path) for path in self._paths)
        fresh = any(now - written < SETTLED_MS for written, *_ in marks)
        known, self._seen = self._seen == marks, marks
        return fresh or not known


def _mark(path: Path) -> tuple[int, int, int, int]:
    """(written at in ms, the same in ns, inode, size); zeros if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_mtime_ns // 1_000_000, found.st_mtime_ns, found.st_ino, found.st_size)
