"""Prometheus' own tool plays rules over a timeline: `promtool test rules` with nothing expected says what there is."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.service.backtest.timeline import Timeline

FIRING: Final = 'ALERTS{alertstate="firing"}'
_MOMENT: Final = re.compile(r"time: (?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?,\s*exp: ?[^\n]*\n\s*got: ([^\n]*)")
_SAMPLE: Final = re.compile(
    r'ALERTS ?\{((?:\w+="(?:[^"\\]|\\.)*"(?:, ?)?)*)\}|\{((?:\w+="(?:[^"\\]|\\.)*"(?:, ?)?)*)\}'
)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class PromtoolFailed(Exception):  # noqa: N818 - reads as what it is
    """It did not play the rules; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that would have fired, from the first to the last moment that it was seen (seconds since the epoch)."""

    alert: str
    labels: Mapping[str, str]
    """Without `alertname` and `alertstate`."""
    from_s: int
    to_s: int


def play(promtool: str, rules: Sequence[Path], played: Timeline, timeout_s: float) -> list[Fired]:
    """Return what would have fired, in the order of time. Raises `PromtoolFailed`, and OSError when there is none."""
    test = {
        "rule_files": [str(path.resolve()) for path in rules],
        "evaluation_interval": f"{played.step_s}s",
        "tests": [
            {
                "interval": f"{played.step_s}s",
                "input_series": [{"series": name, "values": values} for name, values in played.series.items()],
                "promql_expr_test": [
                    {"expr": FIRING, "eval_time": f"{sample * played.step_s}s", "exp_samples": []}
                    for sample in range(played.samples)
                ],
            }
        ],
    }
    with tempfile.TemporaryDirectory(prefix="spanledger-backtest-") as directory:
        path = Path(directory) / "test.yaml"
        path.write_text(json.dumps(test))  # JSON is YAML, and written a hundred times as fast
        try:
            ended = subprocess.run(  # noqa: S603 # the program that the user named
                [promtool, "test", "rules", str(path)],
                capture_output=True, text=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PromtoolFailed(f"not done after {timeout_s:g} s; use --since, or a longer --step") from None
    said = ended.stdout + ended.stderr
    found = list(_moments(said))
    if ended.returncode and not found:
        raise PromtoolFailed(said.strip()[-2000:] or f"exit code {ended.returncode}")
    return sorted(_together(found, played), key=lambda one: (one.from_s, one.alert))


def _moments(said: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield every moment (seconds since the first sample) at which an alert fires, with its labels."""
    for match in _MOMENT.finditer(said):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
        at = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        for sample in _SAMPLE.finditer(match[5]):
            labels = {name: json.loads(f'"{value}"') for name, value in _LABEL.findall(sample[1] or sample[2] or "")}
            if "alertname" in labels:
                yield at, labels


def _together(found: Sequence[tuple[int, Mapping[str, str]]], played: Timeline) -> Iterator[Fired]:
    moments: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for at, labels in found:
        moments[tuple(sorted(labels.items()))].append(at)
    hidden = {"__name__", "alertname", "alertstate"}
    for key, times in moments.items():
        labels = {name: value for name, value in key if name not in hidden}
        alert = dict(key)["alertname"]
        first = last = times[0]
        for at in times[1:]:
            if at - last > played.step_s:
                yield Fired(alert, labels, played.start_s + first, played.start_s + last)
                first = at
            last = at
        yield Fired(alert, labels, played.start_s + first, played.start_s + last)
