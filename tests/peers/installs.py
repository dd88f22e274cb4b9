"""Real home servers in environments of their own under ``.cache/peers``.

Made once and used again: the directory's name carries a hash of the recipe and
of the Python that runs it, and a stamp file says that the installation was
finished. A lock file makes parallel starts wait for one installer, and dies
with its holder, so an interrupted installation is simply made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "peers"
OLD_PYTHON = "python3.6"

_CURRENT_PINS = HERE / "requirements-synapse.txt"
_OLD_PINS = HERE / "requirements-synapse-0.33.8.txt"
_SECONDS = 600


class PeerMissing(Exception):
    """A peer cannot run here; the text says why, and the cure."""


def synapse() -> Path:
    """The Python of an environment with a current Synapse. Raises: PeerMissing."""
    python = find_current_python()
    if python is None:
        raise PeerMissing("synapse: needs Python 3.11 or later")
    return _environment("synapse", python, [["-r", str(_CURRENT_PINS)]])


def old_synapse() -> Path:
    """The Python of an environment with Synapse 0.33.8. Raises: PeerMissing.

    The flags and the old setuptools are all needed: newer ones fail on the
    ``dependency_links`` of that release.
    """
    python = find_old_python()
    if python is None:
        raise PeerMissing(f"synapse-0.33.8: put {OLD_PYTHON} on PATH")
    flags = ["--no-deps", "--no-build-isolation", "--no-use-pep517"]
    steps = [
        ["pip==21.3.1", "setuptools==40.6.2", "wheel==0.37.1"],
        [*flags, "matrix-synapse==0.33.8"],
        ["--no-deps", "-r", str(_OLD_PINS)],
    ]
    return _environment("synapse-0.33.8", python, steps)


def find_current_python() -> str | None:
    """The Python that runs us, if a current Synapse runs on it."""
    return sys.executable if sys.version_info >= (3, 11) else None


@functools.cache
def find_old_python() -> str | None:
    """A CPython 3.6: on PATH, or kept by pyenv, whose shim works only if it is chosen."""
    candidates = [shutil.which(OLD_PYTHON)]
    if pyenv := shutil.which("pyenv"):
        root = _say([pyenv, "root"])
        found = sorted(Path(root, "versions").glob(f"3.6*/bin/{OLD_PYTHON}")) if root else []
        candidates += [str(path) for path in found]
    for candidate in candidates:
        if candidate and _say([candidate, "-c", "import sys; print(sys.version_info[:2])"]):
            return candidate
    return None


def _environment(name: str, python: str, steps: list[list[str]]) -> Path:
    """The environment's Python, made if it is not there yet."""
    place = CACHE / f"{name}-{_stamp(python, steps)}"
    ready = place / "ready"
    if not ready.exists():
        with _locked(CACHE / f"{name}.lock"):
            if not ready.exists():
                _install(name, place, python, steps)
                ready.touch()
    return place / "bin" / "python"


def _install(name: str, place: Path, python: str, steps: list[list[str]]) -> None:
    trouble = ""
    for make, install in _installers(place, python):
        shutil.rmtree(place, ignore_errors=True)
        try:
            for command in (make, *([*install, *step] for step in steps)):
                _run(command)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (error.stderr or error.stdout or b"").decode(errors="replace").strip()
            trouble = said[-400:] or str(error)
            continue
        return
    raise PeerMissing(f"{name}: could not be installed: {trouble}")


def _installers(place: Path, python: str) -> Iterator[tuple[list[str], list[str]]]:
    """(how to make the environment, how to install into it), best first."""
    ours = getattr(sys, "_base_executable", "") or sys.executable
    base = ours if python == sys.executable else python
    inside = str(place / "bin" / "python")
    install = ["install", "--disable-pip-version-check"]
    yield [base, "-m", "venv", str(place)], [inside, "-m", "pip", *install]
    if base == ours:  # Debian without python3-venv
        bare = [base, "-m", "venv", "--without-pip", str(place)]
        yield bare, [base, "-m", "pip", "--python", inside, *install]
        if uv := shutil.which("uv"):
            made = [uv, "venv", "--python", base, str(place)]
            yield made, [uv, "pip", "install", "--python", inside]


def _run(command: list[str]) -> None:
    # If we are killed, so is the installer: the lock is free then, and another may begin.
    tied = ["setpriv", "--pdeathsig", "KILL", *command]
    subprocess.run(tied, check=True, capture_output=True, timeout=_SECONDS, env=_environ())


def _say(command: list[str]) -> str:
    """What a command prints, or nothing if it fails."""
    with contextlib.suppress(OSError):
        said = subprocess.run(command, capture_output=True, text=True, check=False, env=_environ())
        return said.stdout.strip() if said.returncode == 0 else ""
    return ""


def _environ() -> dict[str, str]:
    ours = ("PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if key not in ours}


def _stamp(python: str, steps: list[list[str]]) -> str:
    version = _say([python, "-c", "import sys; print(sys.version)"])
    parts = [os.path.realpath(python), version]
    for step in steps:
        for word in step:
            path = Path(word)
            parts.append(path.read_text() if path.suffix == ".txt" else word)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
