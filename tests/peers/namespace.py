"""One private network and mount namespace, and the processes in it.

As root ``unshare -n -m``, as anybody else ``unshare -U -r -n -m``. Only the
loopback interface is there, so ports 53 and 443 are free, every 127.x.y.z is a
host of its own, and nothing can leave. ``scripts/hold.py`` holds it and ends
whatever runs inside when its standard input ends, even if we are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

HOLD = Path(__file__).parent / "scripts" / "hold.py"
_RESOLVER = "127.0.0.53"
_FILES = {
    "resolv.conf": f"nameserver {_RESOLVER}\noptions timeout:2 attempts:2\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def enter_flags() -> list[str]:
    """What ``unshare`` needs here."""
    return ["-n", "-m"] if os.geteuid() == 0 else ["-U", "-r", "-n", "-m"]


class Namespace:
    """A private mini-internet without anything in it yet. ``close`` ends it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in _FILES.items():
            (directory / name).write_text(text)
        self._spawned: list[subprocess.Popen[bytes]] = []
        base = getattr(sys, "_base_executable", sys.executable)
        self._holder = subprocess.Popen(
            ["unshare", *enter_flags(), base, "-I", str(HOLD), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise RuntimeError("the namespace could not be made (see standard error)")

    @property
    def pid(self) -> int:
        """The holder's process id."""
        return self._holder.pid

    def inside(self, command: Sequence[str], cwd: Path | None = None) -> list[str]:
        """The command line that runs ``command`` inside; one process all the way."""
        join = ["nsenter", "-t", str(self.pid), "-n", "-m"]
        if os.geteuid() != 0:
            join += ["-U", "--preserve-credentials"]
        # Joining a mount namespace resets the working directory.
        where = ["env", "-C", str(cwd or Path.cwd())]
        return [*join, "setpriv", "--pdeathsig", "KILL", *where, *command]

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 30,
        input: bytes | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end; both outputs are kept. Raises: subprocess.TimeoutExpired."""
        return subprocess.run(
            self.inside(command, cwd),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=_environ(env),
        )

    def spawn(
        self,
        command: Sequence[str],
        *,
        log: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start and return; standard output is a pipe, or goes to ``log`` with the errors."""
        with contextlib.ExitStack() as stack:
            out: int | IO[bytes] = subprocess.PIPE
            err: int | None = None
            if log is not None:
                out, err = stack.enter_context(log.open("ab")), subprocess.STDOUT
            process = subprocess.Popen(
                self.inside(command, cwd),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environ(env),
            )
        self._spawned.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], seconds: float = 5) -> None:
        """End one process that :meth:`spawn` started: asked first, then killed."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if process in self._spawned:
            self._spawned.remove(process)

    def close(self) -> None:
        """End everything inside, then the namespace."""
        for process in self._spawned:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in list(self._spawned):
            self.end(process)
        for pipe in (self._holder.stdin, self._holder.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._holder.wait(10)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()


def _environ(more: Mapping[str, str] | None) -> dict[str, str]:
    """Ours, without what would lead a client out of the namespace."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**kept, **(more or {})}
