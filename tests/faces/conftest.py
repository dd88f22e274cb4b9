"""A server of ours that runs for the tests of the command line, as a process of its own."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Serving:
    """A running ``ranvier serve``: what it printed, and where it keeps its files."""

    said: tuple[str, ...]
    data: Path
    process: subprocess.Popen[str]

    @property
    def name(self) -> str:
        """The server name it runs as."""
        return next(line.split()[0] for line in self.said if " serves on " in line)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of its certificate, as hex."""
        pem = (self.data / "tls.crt").read_text()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

    @property
    def certificate(self) -> str:
        """Its certificate, which is its own authority."""
        return str(self.data / "tls.crt")


def start(data: Path, *words: str) -> Serving:
    """Start ``ranvier serve`` and wait until it has said what it does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ranvier", "serve", "--data", str(data), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RANVIER_COMMAND": "./dev run"},
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.rstrip("\n"))
        if re.match(r"  try ", line):
            break
    return Serving(tuple(said), data, process)


def stop(serving: Serving) -> int:
    """End it as an operator would, and give its exit code."""
    serving.process.terminate()
    code = serving.process.wait(20)
    if serving.process.stdout is not None:
        serving.process.stdout.close()
    return code


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for a module."""
    one = start(tmp_path_factory.mktemp("serve"))
    yield one
    assert stop(one) == 0
