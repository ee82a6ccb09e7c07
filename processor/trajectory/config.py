"""What there is to configure about trajectories."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import pydantic
import pydantic_core

from spanledger.conventions.detail import ContentMode
from spanledger.conventions.evaluators import EVALUATORS
from spanledger.conventions.loops import LoopRules
from spanledger.conventions.run import Outcome
from spanledger.conventions.subject import attributes_of
from spanledger.conventions.trajectory.outcome import TERMINAL_TOOLS
from spanledger.processor.component import ComponentConfig, Settings
from spanledger.processor.settings import Duration
from spanledger.processor.trajectory.attribution import DimensionConfig
from spanledger.processor.trajectory.budgets import MAX_BUDGETS, BudgetConfig
from spanledger.processor.trajectory.policies import MAX_POLICIES, PolicyConfig
from spanledger.processor.trajectory.recipe import Recipe
from spanledger.processor.trajectory.slo import SloConfig

Stitch = Literal["parent", "link", "tool_call_id", "mcp", "conversation", "history", "time"]

STITCHES: Final[tuple[Stitch, ...]] = get_args(Stitch)

_Count = Annotated[int, pydantic.Field(gt=0)]
_Times = Annotated[int, pydantic.Field(ge=0)]
_LOOPS: Final = LoopRules()


def _known_evaluator(name: str) -> str:
    if name not in EVALUATORS:
        # As for any closed set, so that the message is the same and says what was meant.
        *others, last = (f"'{known}'" for known in EVALUATORS)
        expected = f"{', '.join(others)} or {last}"
        raise pydantic_core.PydanticKnownError("literal_error", {"expected": expected})
    return name


_EvaluatorName = Annotated[str, pydantic.AfterValidator(_known_evaluator)]


class MemoryConfig(Settings):
    """Limits of what is remembered. What passes one is closed early, with a reason and a counter."""

    max_runs: _Count = 20_000
    """Open runs; the one that was silent longest is closed for a new one."""
    max_spans_per_run: _Count = 5_000
    """Spans of one run; it is closed as `truncated` when it has them, further ones are only counted."""
    limit_mib: _Count = 256
    """Estimated size of all spans kept, closed runs included, in MiB."""


class LateConfig(Settings):
    """What comes after a run was closed."""

    remember: Duration = 300.0
    """How long a closed run can still be revised."""
    forget: Duration = 3600.0
    """How long after that its late spans are still known as such; later ones would open a new run."""


class LoopsConfig(Settings):
    """When a run is said to loop. A count of 0 turns its rule off."""

    enabled: bool = True
    """Look for loops, storms and lack of progress."""
    exact_repeat: _Times = _LOOPS.exact_repeat
    """Calls of a tool with the same arguments, the first one included."""
    near_repeat: _Times = _LOOPS.near_repeat
    """Calls of a tool with nearly the same arguments and result."""
    cycle_rounds: _Times = _LOOPS.cycle_rounds
    """Rounds of two to four calls in the same order."""
    same_error: _Times = _LOOPS.same_error
    """Failures of a tool with the same error in a row."""
    no_progress: _Times = _LOOPS.no_progress
    """Calls of a tool with different arguments and the same result."""
    output_repeat: _Times = _LOOPS.output_repeat
    """Nearly the same answers of a model in one conversation."""
    retry_storm: _Times = _LOOPS.retry_storm
    """Failures of one request within `retry_window`."""
    retry_window: Duration = _LOOPS.retry_window_s
    """How far apart the failures of a retry storm may be."""
    names_repeat: _Times = _LOOPS.names_repeat
    """Calls of a tool in a row where nothing says its arguments."""
    names_cycle_rounds: _Times = _LOOPS.names_cycle_rounds
    """Rounds of a cycle where nothing says the arguments."""
    similarity: Annotated[float, pydantic.Field(gt=0, le=1)] = _LOOPS.similarity
    """From this share of word pairs in common, arguments and answers are nearly the same."""
    polling_tools: list[str] = pydantic.Field(default_factory=lambda: list(_LOOPS.polling_tools))
    """Names (globs, in lower case) of tools that may be called again and again."""
    max_steps: _Count | None = None
    """Steps of a run; without a number, `ceiling_factor` decides."""
    max_depth: _Count | None = None
    """Agents and workflows above one another; without a number, `ceiling_factor` decides."""
    max_run_duration: Duration | None = None
    """Duration of a run; without one, `ceiling_factor` decides."""
    ceiling_factor: Annotated[float, pydantic.Field(ge=1)] = _LOOPS.ceiling_factor
    """Above this multiple of the 99th percentile of an agent's last runs, a run is out of the ordinary."""

    def rules(self) -> LoopRules | None:
        """Return the rules; None when nobody is to look."""
        if not self.enabled:
            return None
        said = self.model_dump(exclude={"enabled", "retry_window", "max_run_duration", "polling_tools"})
        return LoopRules(
            **said,
            retry_window_s=self.retry_window,
            max_duration_s=self.max_run_duration,
            polling_tools=tuple(self.polling_tools),
        )


class TrajectoryConfig(ComponentConfig):
    """How runs are put together, and when they are complete."""

    settle: Duration = 5.0
    """Quiet time after the root of a run has ended before the run is closed."""
    settle_remote: Duration = 30.0
    """The same when the parent of that root is in another process and was not seen: it may still come."""
    idle_timeout: Duration = 900.0
    """A run whose root never came is closed after this much silence. Allow for people who are asked to approve."""
    max_duration: Duration = 86_400.0
    """A run is closed after this long at the latest, and revised for no longer than `late.remember` after that."""
    content: ContentMode = "metadata"
    """What of prompts and answers is kept: nothing, only digests and sizes, or the text itself."""
    max_content_bytes: Annotated[int, pydantic.Field(ge=0, le=4 * 1024 * 1024)] = 16_384
    """With `content: full`: bytes kept of each input and each output; a cut is marked."""
    dimensions: list[str | DimensionConfig] = pydantic.Field(default_factory=list, max_length=32)
    """Attributes of spans or resources that runs are to carry and costs are told apart by, such as `team` or `feature`:
    names, or blocks."""
    stitch: list[Stitch] = pydantic.Field(default_factory=lambda: list(STITCHES))
    """What joins spans of different traces into one run. `parent` is always on."""
    stitch_window: Duration = 60.0
    """Model calls without an agent belong together by conversation when they are not further apart than this."""
    memory: MemoryConfig = pydantic.Field(default_factory=MemoryConfig)
    late: LateConfig = pydantic.Field(default_factory=LateConfig)
    loops: LoopsConfig = pydantic.Field(default_factory=LoopsConfig)
    evaluators: list[_EvaluatorName] = pydantic.Field(default_factory=lambda: list(EVALUATORS))
    """Built-in evaluators that judge each run when it is closed; none with `[]`. See docs/evaluations.md."""
    terminal_tools: dict[str, Outcome] = pydantic.Field(default_factory=lambda: dict(TERMINAL_TOOLS))
    """Tool -> what its call means for the outcome, if it is the last of a run."""
    slo: SloConfig = pydantic.Field(default_factory=SloConfig)
    budgets: list[BudgetConfig] = pydantic.Field(default_factory=list, max_length=MAX_BUDGETS)
    """What may be spent, see docs/budgets.md."""
    policies: list[PolicyConfig] = pydantic.Field(default_factory=list, max_length=MAX_POLICIES)
    """What agents may do, see docs/policies.md."""
    storage: str | None = None
    """Directory for open runs, so that a killed process resumes them; without it they live in memory. With
    `content: full` it holds prompts."""
    storage_fsync: bool = False
    """When false what is acknowledged is in its run although the process is killed; when true although power fails."""

    @pydantic.field_validator("dimensions", "budgets", "policies")
    @classmethod
    def _named_once(cls, items: list[Any]) -> list[Any]:
        names = [item if isinstance(item, str) else item.name for item in items]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice[:100]!r} is there twice: each needs a name of its own")
        return items

    def dimension_limits(self) -> dict[str, int]:
        """Return the dimensions that costs are told apart by, and how many values of each."""
        return {one.name: one.limit for one in map(_dimension, self.dimensions)}

    def dimension_sources(self) -> dict[str, str]:
        """Return what is read as a dimension, and from which attribute: for costs, budgets and policies."""
        matches = [*(one.match for one in self.budgets), *(one.match for one in self.policies)]
        asked = {name: name for name in attributes_of(matches)}
        return asked | {one.name: one.source or one.name for one in map(_dimension, self.dimensions)}

    def recipe(self) -> Recipe:
        """Return how runs are made."""
        return Recipe(
            frozenset(self.stitch),
            self.stitch_window,
            self.loops.rules(),
            {name: EVALUATORS[name] for name in self.evaluators},
            self.terminal_tools,
            tuple(one.budget() for one in self.budgets),
            tuple(one.policy() for one in self.policies),
            tuple(self.dimension_limits()),
        )


def _dimension(said: str | DimensionConfig) -> DimensionConfig:
    return DimensionConfig(name=said) if isinstance(said, str) else said
