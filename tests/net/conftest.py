"""What the tests of the edges share: short limits and a wire that may reach loopback."""

from __future__ import annotations

import pytest

from ranvier.limits import Limits
from ranvier.net.clock import SystemClock
from ranvier.net.dial import NetWire
from ranvier.protocol.addresses import AddressPolicy
from tests.rigs import certs


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def limits() -> Limits:
    """Short where silence is waited for, ample where a slow machine must not matter."""
    return Limits(dns_seconds=0.25, connect_seconds=5.0)


@pytest.fixture
def wire(clock: SystemClock, limits: Limits) -> NetWire:
    return NetWire(clock, limits, AddressPolicy(allow_private=True), certs.authority().file)
