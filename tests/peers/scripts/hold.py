"""Hold one private network and mount namespace, and end everything in it.

Runs as the first process inside (``unshare -n -m ... python hold.py FILES``):
brings the loopback interface up, puts our own resolver files over the
system's, says ``ready``, and waits for the end of its standard input. That end
comes when the test run closes it, and also when the test run is killed: then
every process of this namespace is ended, each by its id.

Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
MS_BIND = 4096
OVER = ("resolv.conf", "hosts", "nsswitch.conf")


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
        flags = struct.unpack("16sH14x", answer)[1] | IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def cover(ours: Path, theirs: Path) -> None:
    """Bind-mount ``ours`` over ``theirs``, wherever that leads."""
    target = Path(os.path.realpath(theirs))
    if not target.exists():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(str(ours).encode(), str(target).encode(), None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount over {target}")


def neighbours() -> list[int]:
    """The processes of this network namespace, this one left out."""
    here = os.stat("/proc/self/ns/net").st_ino
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if os.stat(f"/proc/{entry}/ns/net").st_ino == here:
                    found.append(int(entry))
            except OSError:  # ended meanwhile, or not ours to see
                continue
    return found


def end(sig: signal.Signals) -> None:
    for pid in neighbours():
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            continue


def sweep() -> None:
    end(signal.SIGTERM)
    for _ in range(30):
        time.sleep(0.05)
        if not neighbours():
            return
    for _ in range(20):
        end(signal.SIGKILL)
        time.sleep(0.1)
        if not neighbours():
            return


def main() -> None:
    files = Path(sys.argv[1])
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)  # the end of the input is the only end
    raise_loopback()
    for name in OVER:
        cover(files / name, Path("/etc") / name)
    print("ready", flush=True)
    sys.stdin.buffer.read()
    sweep()


if __name__ == "__main__":
    main()
