"""`spanledger backtest`: when the alerts would have fired on the runs that are stored."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.service.backtest.blind import Blind
    from spanledger.service.backtest.promtool import Fired

NAME = "backtest"
HELP = "play alerting rules over stored runs and print when each would have fired"
EXAMPLES = """\
  spanledger backtest deploy/prometheus
  spanledger backtest deploy/prometheus --since 3d
  spanledger backtest ./observability/prometheus --store ./spanledger-data --json
"""

_TOGETHER: Final = 20
"""Services that are played together: promtool takes no query of more than 10,000 samples."""
_MAX_STEP_S: Final = 240
_UNTOLD: Final = frozenset({"severity", "category", "job", "instance"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("rules", metavar="RULES", help="a file of rules, or a directory with *.rules.yaml")
    parser.add_argument(
        "--store", metavar="PATH", help="the run store (default: $SPANLEDGER_DATA_DIR or ./spanledger-data)"
    )
    parser.add_argument("--since", metavar="TIME", default="", help="runs that started at TIME or later, or 3d ago")
    parser.add_argument(
        "--step", type=_step, default=60, metavar="SECONDS", help="between two looks at the rules (default: 60)"
    )
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for promtool (default: 600)")
    parser.add_argument(
        "--prometheus", metavar="PATH", help="promtool, or the directory that it is in (default: the one on PATH)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def _step(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= _MAX_STEP_S:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r}: 1 to {_MAX_STEP_S} seconds, for Prometheus looks back for 300"
        )
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Print what would have fired. Returns 0; 1 when rules cannot be played; 2 without store, rules or promtool."""
    from spanledger.exporters.run_store.filter import StoreError
    from spanledger.service.backtest.promtool import PromtoolFailed

    try:
        rules = _rules(Path(args.rules))
        promtool = _promtool(args.prometheus)
        runs = _runs(args)
    except (StoreError, argparse.ArgumentTypeError, FileNotFoundError) as error:
        print(f"spanledger backtest: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"spanledger backtest: {error.filename} cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    try:
        fired = _play(promtool, rules, runs, args.step, args.timeout) if runs else []
    except (PromtoolFailed, OSError) as error:
        print(f"spanledger backtest: {promtool}: {error}", file=sys.stderr)
        return 1
    named = {one.alert for one in fired}
    unseen = [one for one in _unseen(rules, runs) if one.alert not in named]
    if args.json:
        not_judged = [{"alert": one.alert, "why": one.why} for one in unseen]
        print(json.dumps({"fired": [_document(one) for one in fired], "not_judged": not_judged}, indent=2))
    else:
        _print(fired, runs, unseen)
    return 0


def _rules(path: Path) -> list[Path]:
    found = sorted(path.glob("*.rules.y*ml")) if path.is_dir() else [path]
    if not found or not all(one.is_file() for one in found):
        raise FileNotFoundError(f"there are no rules at {path}: name a file, or a directory with *.rules.yaml")
    return found


def _promtool(named: str | None) -> str:
    path = Path(named) if named else None
    if path is not None and path.is_dir():
        path /= "promtool"
    found = shutil.which(str(path) if path is not None else "promtool")
    if found is None:
        raise FileNotFoundError(
            f"{path or 'promtool'} is not there: it comes with Prometheus (2.42 or newer) and plays its rules; "
            "install that, or say where it is with --prometheus PATH"
        )
    return found


def _runs(args: argparse.Namespace) -> list[Run]:
    from spanledger.exporters.run_store.filter import Filter, StoreError
    from spanledger.exporters.run_store.reader import RunReader
    from spanledger.service.runs.arguments import moment_ns
    from spanledger.service.runs.document import read

    since = moment_ns(args.since, time.time_ns()) if args.since else None
    found = []
    with RunReader(Path(args.store or os.environ.get("SPANLEDGER_DATA_DIR") or "./spanledger-data")) as reader:
        for listed in reader.runs(Filter(since_ns=since), oldest_first=True):
            try:
                found.append(read(reader.document(listed.seq)))
            except StoreError as error:
                print(f"spanledger backtest: run {listed.columns.run_id} is left out: {error}", file=sys.stderr)
    return found


def _play(promtool: str, rules: list[Path], runs: list[Run], step_s: int, timeout_s: float) -> list[Fired]:
    from spanledger.service.backtest.promtool import play
    from spanledger.service.backtest.timeline import span, timeline

    start_s, samples = span(runs, step_s, time.time())
    services: dict[str, list[Run]] = defaultdict(list)
    for one in runs:
        services[one.service_name].append(one)
    names = sorted(services)
    fired: list[Fired] = []
    for begin in range(0, len(names), _TOGETHER):
        some = [one for name in names[begin : begin + _TOGETHER] for one in services[name]]
        fired += play(promtool, rules, timeline(some, start_s, step_s, samples), timeout_s)
    return sorted(fired, key=lambda one: (one.from_s, one.alert))


def _unseen(rules: list[Path], runs: list[Run]) -> list[Blind]:
    """Return the alerts that these runs can say nothing of."""
    import yaml

    from spanledger.service.backtest.blind import blind
    from spanledger.service.backtest.timeline import first_and_last

    begin_s, last_s = first_and_last(runs)
    documents = [yaml.safe_load(path.read_text()) for path in rules]
    return blind([group for one in documents for group in (one or {}).get("groups") or ()], last_s - begin_s)


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def _document(one: Fired) -> dict[str, object]:
    return {"alert": one.alert, "labels": dict(one.labels), "from": _time(one.from_s), "to": _time(one.to_s)}


def _print(fired: list[Fired], runs: list[Run], unseen: list[Blind]) -> None:
    from spanledger.service.runs.terminal import terminal

    safe = terminal(sys.stdout, os.environ).safe
    for one in fired:
        about = ", ".join(f"{name}={safe(value)}" for name, value in one.labels.items() if name not in _UNTOLD)
        minutes = (one.to_s - one.from_s) // 60
        severity = one.labels.get("severity", "")
        print(f"{_time(one.from_s)}  {minutes:>5} min  {safe(severity):<6}  {safe(one.alert)}  {about}")
    print(f"{len(fired)} times, {len({one.alert for one in fired})} alerts, {len(runs)} runs")
    if unseen:
        print(f"\nNot judged, or not in full: these runs cannot say whether {len(unseen)} alerts would have fired.")
        for unjudged in unseen:
            print(f"  {safe(unjudged.alert)}: {safe(unjudged.why)}")
