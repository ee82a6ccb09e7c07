"""Objectives, from the configuration to gauges: what alerts compare durations and scores with."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import pydantic

from spanledger.processor.component import Settings
from spanledger.processor.settings import Duration

if TYPE_CHECKING:
    from spanledger.processor.metric_store import MetricStore
    from spanledger.processor.trajectory.group import Label

_Score = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class SloConfig(Settings):
    """Objectives of agents. The first glob that fits the name of an agent counts; a case matters."""

    latency: dict[str, Duration] = pydantic.Field(default_factory=dict)
    """Agent (glob) -> how long its runs should take at most, such as `planner: 30s`."""
    evaluations: dict[str, dict[str, _Score]] = pydantic.Field(default_factory=dict)
    """Agent (glob) -> evaluation -> the least score that it should have, such as
    `"*": {spanledger.goal_signal: 0.8}`."""


class Objectives:
    """Shows the objectives of each agent that is seen."""

    def __init__(self, config: SloConfig, table: MetricStore) -> None:
        self._config = config
        self._latency = table.gauge("spanledger_slo_latency_seconds")
        self._score = table.gauge("spanledger_slo_evaluation_score")

    def see(self, label: Label) -> None:
        """Show the objectives of an agent, for as long as its other series are shown."""
        for glob, limit_s in self._config.latency.items():
            if fnmatchcase(label[1], glob):
                self._latency.set(label, limit_s)
                break
        for glob, scores in self._config.evaluations.items():
            if fnmatchcase(label[1], glob):
                for name, score in scores.items():
                    self._score.set((*label, name), score)
                break
