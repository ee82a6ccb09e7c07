"""Fuzz every target for a while, one after the other: `python -m tests.fuzz.run --seconds 60 [TARGET ...]`.

A target is a module of `targets/` with a function `fuzz(data: bytes)` that returns for any data at all. Whatever it
raises is a finding: it is kept in `.fuzz/<target>/`, and goes to `corpus/<target>/` with the fix, where
`test_seeds.py` plays it in every test run. What libFuzzer learns on the way stays in `.fuzz/`, for the next time.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
WORK = HERE.parents[1] / ".fuzz"
TARGETS = tuple(sorted(path.stem for path in (HERE / "targets").glob("*.py")))

_MAX_LENGTH = 4096
_TIMEOUT_S = 30
_RSS_MIB = 4096


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    target: str
    executions: int
    per_second: int
    findings: tuple[Path, ...]


def fuzz(target: str, seconds: int) -> Outcome:
    """Run one target in a process of its own."""
    learnt = WORK / target / "corpus"
    learnt.mkdir(parents=True, exist_ok=True)
    before = set(_findings(target))
    command = [
        sys.executable, "-m", "tests.fuzz.one", target, f"-max_total_time={seconds}", f"-max_len={_MAX_LENGTH}",
        f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={_RSS_MIB}", "-print_final_stats=1", "-len_control=0",
        f"-artifact_prefix={WORK / target}/", str(learnt), str(CORPUS / target),
    ]  # fmt: skip
    with (WORK / target / "log.txt").open("w") as log:
        subprocess.run(command, cwd=HERE.parents[1], stdout=log, stderr=subprocess.STDOUT, check=False)
    said = dict(
        re.findall(r"^stat::(\w+):\s+(\d+)", (WORK / target / "log.txt").read_text(errors="replace"), re.MULTILINE)
    )
    executions, per_second = (int(said.get(name, 0)) for name in ("number_of_executed_units", "average_exec_per_sec"))
    return Outcome(target, executions, per_second, tuple(sorted(set(_findings(target)) - before)))


def _findings(target: str) -> list[Path]:
    return [path for path in (WORK / target).iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]


def main() -> int:
    """Return 0 when nothing was found, 1 when something was, or a target could not be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; without any, all")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    bad = False
    print(f"{'target':20} {'executions':>10} {'per second':>10}  findings", flush=True)
    for target in args.targets or TARGETS:
        found = fuzz(target, args.seconds)
        said = " ".join(map(str, found.findings)) or ("none" if found.executions else f"see {WORK / target}/log.txt")
        print(f"{found.target:20} {found.executions:10} {found.per_second:10}  {said}", flush=True)
        bad |= said != "none"
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
