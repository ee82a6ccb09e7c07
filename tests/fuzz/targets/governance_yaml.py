"""Budgets, policies, objectives and rules for loops: any that are accepted judge a run."""

from __future__ import annotations

import pydantic
import yaml

from spanledger.processor.trajectory.config import TrajectoryConfig
from tests.assembled_runs import Bench, agent, bridge, step, tool
from tests.fuzz.draw import Draw

_BLOCKS = (
    "budgets",
    "policies",
    "slo",
    "loops",
    "dimensions",
    "stitch",
    "terminal_tools",
    "memory",
    "late",
    "evaluators",
)


def fuzz(data: bytes) -> None:
    """Text as YAML, most often as one of the blocks."""
    draw = Draw(data)
    block = draw.pick((*_BLOCKS, ""))
    try:
        said = yaml.safe_load(draw.rest())
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    try:
        config = TrajectoryConfig.model_validate({block: said} if block else said)
        bench = Bench(config)
    except (pydantic.ValidationError, ValueError):
        return
    bench.take(step(3, 2, 1), tool(4, 2, 1), tool(5, 2, 1), agent(2, 1, 1), bridge(1, 0, 1))
    bench.wait(10.0)
    bench.end()
    assert bench.count("spanledger_trajectory_faults_total") == 0
    assert bench.documents
