"""Options of the test run."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")  # how long an example takes depends on what else the machine does


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`, which writes today's results into golden files, and the options of tests/faults."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew; look at the difference")
    parser.addoption("--rounds", type=int, default=1, help="how many times as long tests/faults goes on as in CI")
    parser.addoption("--fault-report", metavar="FILE", help="where tests/faults adds what it measured, as JSON lines")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Tell whether golden files are to be written."""
    return bool(request.config.getoption("--update-golden"))
