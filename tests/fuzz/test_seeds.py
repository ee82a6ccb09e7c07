"""Every committed seed through its target: what was found once is not found again. Needs no fuzzer."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import pytest

from tests.fuzz.run import CORPUS, TARGETS

SEEDS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets say a lot about damaged data."""
    monkeypatch.setattr(logging, "lastResort", None)


@pytest.mark.parametrize("target", TARGETS)
def test_target_has_seeds_and_takes_nothing(target: str) -> None:
    """No bytes at all are data, too."""
    importlib.import_module(f"tests.fuzz.targets.{target}").fuzz(b"")
    assert any(seed.parent.name == target for seed in SEEDS)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.parent.name}/{seed.name}")
def test_seed_is_no_finding(seed: Path) -> None:
    """It returns."""
    importlib.import_module(f"tests.fuzz.targets.{seed.parent.name}").fuzz(seed.read_bytes())


def test_corpus_is_small() -> None:
    """Less than half a megabyte: it is in every checkout."""
    assert sum(seed.stat().st_size for seed in SEEDS) < 500_000
