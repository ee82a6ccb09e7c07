"""What the sidecar loads for the configuration that it comes with: the rest would take memory for nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spanledger.processor.component import KINDS, REGISTRY, Kind

START = """
import os, sys
from spanledger.processor.component import REGISTRY
from spanledger.service.config import load
{}
print(*sorted(sys.modules))
"""


def modules(code: str) -> set[str]:
    """Return the names of the modules that a process has after `code`."""
    run = subprocess.run([sys.executable, "-c", START.format(code)], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.fixture(scope="module")
def default() -> set[str]:
    """With the default configuration read."""
    return modules("load([], [], os.environ)")


@pytest.mark.parametrize(
    "name",
    ["genai_prices", "zstandard", "spanledger.exporters.otlp_http", "spanledger.exporters.kafka",
     "spanledger.receivers.kafka", "spanledger.extensions.oidc_auth", "spanledger.processor.redaction"],
)  # fmt: skip
def test_what_is_not_configured_is_not_loaded(default: set[str], name: str) -> None:
    """Nor what only few requests need."""
    assert name not in default
    assert "spanledger.processor.trajectory.connector" in default


def test_a_type_is_found_by_the_name_of_its_module() -> None:
    """A package has all that is in it."""
    loaded = modules("assert REGISTRY.find('exporter', 'kafka').type == 'kafka'")
    assert "spanledger.exporters.kafka.exporter" in loaded
    assert "spanledger.exporters.file" not in loaded


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_found(kind: Kind) -> None:
    """Whatever its module is called: `otlphttp` and `oidc` are in others."""
    for name, registration in REGISTRY.of(kind).items():
        assert REGISTRY.find(kind, name) is registration


def test_other_names_are_looked_for_everywhere() -> None:
    """A type whose module has another name, a module that registers nothing, and what no module can be called."""
    modules(
        "assert REGISTRY.find('exporter', 'otlphttp').type == 'otlphttp'\n"
        "assert REGISTRY.find('exporter', 'queue') is None\n"
        "assert REGISTRY.find('extension', 'a.b') is None"
    )
