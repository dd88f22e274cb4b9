"""What every test shares."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "pytester",
    "tests.plugins.error_codes",
    "tests.plugins.peers",
    "tests.plugins.requirements",
]


@pytest.fixture
def anyio_backend() -> str:
    """Asyncio only (docs/decisions)."""
    return "asyncio"
