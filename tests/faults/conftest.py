"""Faults on purpose: real processes, sockets and disks. Run by `make test-faults`; options are in tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.account import Accounts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: `make test` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(int(item.config.getoption("--rounds")) * 120 + 120))


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How many times as long as in CI."""
    return int(request.config.getoption("--rounds"))


@pytest.fixture
def accounts(request: pytest.FixtureRequest) -> Accounts:
    """Where the test writes what was acknowledged, delivered and lost."""
    path = request.config.getoption("--fault-report")
    return Accounts(request.node.name, Path(path) if path else None)
