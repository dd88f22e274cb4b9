"""Which real peers can run here, why not, and what would cure it.

Cheap and without side effects, so that collection and the last line of the
test run can ask. A Synapse that is not installed yet counts as available if
everything that its installation needs is here; whether the installation then
succeeds is known when a test asks for it (:mod:`tests.peers.installs`).
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

import msgspec

from tests.peers import installs
from tests.peers.namespace import enter_flags

NAMESPACE = "namespace"
SYNAPSE = "synapse"
OLD_SYNAPSE = "synapse-0.33.8"

_PACKAGES = {
    "nginx": "nginx-light",
    "dnsmasq": "dnsmasq-base",
    "haproxy": "haproxy",
    "wrk": "wrk",
}


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One peer: whether it can run, and if not, why and what to do."""

    name: str
    ready: bool
    reason: str = ""
    cure: str = ""

    def __str__(self) -> str:
        if self.ready:
            return f"{self.name} yes"
        return f"{self.name} no ({self.cure or self.reason})"


@functools.cache
def availability() -> dict[str, Peer]:
    """Every peer by its name; asked once in a process."""
    namespace = _namespace()
    programs = {name: _program(name, package) for name, package in _PACKAGES.items()}
    synapse = _installable(SYNAPSE, installs.find_current_python(), "use Python 3.11 or later")
    old = _installable(
        OLD_SYNAPSE, installs.find_old_python(), f"put {installs.OLD_PYTHON} on PATH"
    )
    needed = (namespace, programs["dnsmasq"])
    return {
        NAMESPACE: namespace,
        SYNAPSE: _with(synapse, *needed, programs["nginx"]),
        OLD_SYNAPSE: _with(old, *needed),
        **programs,
    }


def find_program(name: str) -> str | None:
    """Where a program is; the system directories count even if PATH leaves them out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _program(name: str, package: str) -> Peer:
    if find_program(name):
        return Peer(name=name, ready=True)
    return Peer(
        name=name,
        ready=False,
        reason=f"{name} is not installed",
        cure=f"apt-get install --no-install-recommends {package}",
    )


def _namespace() -> Peer:
    if sys.platform != "linux":
        return Peer(name=NAMESPACE, ready=False, reason="namespaces need Linux")
    for tool in ("unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            return Peer(
                name=NAMESPACE,
                ready=False,
                reason=f"{tool} is not installed",
                cure="apt-get install util-linux",
            )
    tried = subprocess.run(
        ["unshare", *enter_flags(), "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return Peer(name=NAMESPACE, ready=True)
    return Peer(
        name=NAMESPACE,
        ready=False,
        reason=tried.stderr.strip(),
        cure="allow unprivileged user namespaces, or run as root",
    )


def _installable(name: str, python: str | None, cure: str) -> Peer:
    if python is None:
        return Peer(name=name, ready=False, reason="no Python that can run it", cure=cure)
    return Peer(name=name, ready=True)


def _with(peer: Peer, *needs: Peer) -> Peer:
    for need in needs:
        if peer.ready and not need.ready:
            reason = f"needs {need.name}: {need.reason}"
            return Peer(name=peer.name, ready=False, reason=reason, cure=need.cure)
    return peer
