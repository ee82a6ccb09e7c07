"""`spanledger runs`: what agents did, out of the run store."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from spanledger.service.options import add_action

if TYPE_CHECKING:
    from spanledger.conventions.run import Run
    from spanledger.exporters.run_store.filter import Filter
    from spanledger.exporters.run_store.reader import Listed, RunReader
    from spanledger.service.runs.terminal import Terminal

NAME = "runs"
HELP = "look at agent runs: list, sessions, show, step, diff, export, verify"
EXAMPLES = """\
  spanledger runs list --agent planner --since 2h
  spanledger runs sessions
  spanledger runs show latest
  spanledger runs step latest 5
  spanledger runs diff 4f9a2c81 77ab03de
  spanledger runs export --outcome failure --output failures.jsonl
  spanledger runs verify
"""

_RUN = "a run: its id or the beginning of one, a trace id, or `latest`"
_PROGRESS_EVERY_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    one = _action(actions, "list", _list, "list runs, the newest first", """\
  spanledger runs list
  spanledger runs list --agent 'plan*' --outcome failure --since 3d
  spanledger runs list --text 'timeout booking' --min-cost 0.05 --json
""")  # fmt: skip
    _add_filters(one)
    _add_currency(one)
    one.add_argument("--limit", type=_natural, default=20, metavar="N", help="at most N runs; 0 for all (default: 20)")

    one = _action(actions, "sessions", _sessions, "list sessions, or show one with its runs in order", """\
  spanledger runs sessions --since 3d
  spanledger runs sessions --agent 'plan*' --outcome failure
  spanledger runs sessions s-42
  spanledger runs sessions latest --json
""")  # fmt: skip
    _add_currency(one)
    one.add_argument("session_name", metavar="SESSION", nargs="?", help="an id, its beginning, or `latest`: show that")
    _add_filters(one)
    one.add_argument(
        "--limit", type=_natural, default=20, metavar="N", help="at most N sessions; 0 for all (default: 20)"
    )

    one = _action(actions, "show", _show, "show one run as a tree with times, cost and marks", """\
  spanledger runs show latest
  spanledger runs show 4f9a2c81 --revision 1
  spanledger runs show latest --json | jq .totals
""")  # fmt: skip
    one.add_argument("run_name", metavar="RUN", help=_RUN)
    _add_currency(one)
    one.add_argument("--revision", type=int, metavar="N", help="an earlier revision than the newest")

    one = _action(actions, "step", _step, "go back to one step: what the agent had seen, decided, and got", """\
  spanledger runs step latest 5
  spanledger runs step 4f9a2c81 7 --full
""")  # fmt: skip
    one.add_argument("run_name", metavar="RUN", help=_RUN)
    one.add_argument("number", metavar="N", type=_natural, help="the step's number, as `show` has it")
    _add_currency(one)
    one.add_argument("--full", action="store_true", help="do not cut what was said")

    one = _action(actions, "diff", _diff, "compare two runs step by step and point out where they part", """\
  spanledger runs diff 4f9a2c81 77ab03de
  spanledger runs diff 4f9a2c81 latest --all
  spanledger runs diff 4f9a2c81 latest --exit-code >/dev/null || echo "it went another way"
""")  # fmt: skip
    one.add_argument("run_a", metavar="RUN_A", help=_RUN)
    one.add_argument("run_b", metavar="RUN_B", help="the run to compare it with")
    one.add_argument("--all", action="store_true", help="show equal steps too")
    one.add_argument("--exit-code", action="store_true", help="exit with 1 when the runs differ")

    one = _action(actions, "export", _export, "write run documents, one JSON object a line", """\
  spanledger runs export --since 24h > runs.jsonl
  spanledger runs export --finding loop --output loops.jsonl
""")  # fmt: skip
    _add_filters(one)
    one.add_argument("--limit", type=_natural, default=0, metavar="N", help="at most N runs (default: all)")
    one.add_argument("--output", metavar="FILE", help="write to FILE, for your eyes only, instead of standard output")

    one = _action(actions, "verify", _verify, "check that nothing that was stored has been changed since", """\
  spanledger runs verify
  spanledger runs verify --head 5d1f0c…  # the hash that an earlier verify ended with
""")  # fmt: skip
    one.add_argument("--head", type=_hash, metavar="HASH", help="a hash noted earlier, that the chain must still hold")


def run(args: argparse.Namespace) -> int:
    """Do what is asked. Returns 0; 1 when there is no such run or something is wrong; 2 when there is no store.

    Raises OSError without a file name when standard output cannot be written to.
    """
    from spanledger.exporters.run_store.filter import StoreError
    from spanledger.exporters.run_store.reader import RunReader

    try:
        reader = RunReader(Path(args.store or os.environ.get("SPANLEDGER_DATA_DIR") or "./spanledger-data"))
    except StoreError as error:
        print(f"spanledger runs: {error}", file=sys.stderr)
        return 2
    try:
        with reader:
            action: Callable[[argparse.Namespace, RunReader], int] = args.action
            return action(args, reader)
    except StoreError as error:
        print(f"spanledger runs: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"spanledger runs: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def _action(
    actions: Any, name: str, action: Callable[[argparse.Namespace, RunReader], int], help_: str, examples: str
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, action, help_, examples)
    parser.add_argument(
        "--store",
        metavar="PATH",
        help="the store, or its directory (default: $SPANLEDGER_DATA_DIR or ./spanledger-data)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--ascii", action="store_true", help="use plain ASCII characters only")
    return parser


def _add_currency(parser: argparse.ArgumentParser) -> None:
    from spanledger.service.commands.price import currency

    parser.add_argument("--currency", type=currency, metavar="CODE=RATE", help="show amounts in it: EUR=0.92")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    filters = parser.add_argument_group("which runs")
    filters.add_argument("--agent", metavar="NAME", help="an agent that took part; may have wildcards, 'plan*'")
    filters.add_argument("--service", metavar="NAME", help="the service; may have wildcards")
    filters.add_argument("--session", metavar="ID", help="the session (conversation id)")
    filters.add_argument("--outcome", choices=("success", "failure", "partial", "unknown"), help="how it ended")
    filters.add_argument("--min-cost", type=_dollars, metavar="USD", help="at least so many dollars")
    filters.add_argument(
        "--finding", metavar="WHAT", help="a finding's kind, rule or severity: loop, exact_repeat; '*'"
    )
    filters.add_argument("--since", type=_time, metavar="TIME", help="started at 2026-11-20T08:00Z or later, or 2h ago")
    filters.add_argument("--until", type=_time, metavar="TIME", help="started before")
    filters.add_argument("--text", metavar="WORDS", help="all of these words in names, errors or content; begin*")


def _filter(args: argparse.Namespace) -> Filter:
    from spanledger.exporters.run_store.filter import Filter

    return Filter(
        agent=args.agent,
        service=args.service,
        session=args.session,
        outcome=args.outcome,
        min_cost_usd=args.min_cost,
        finding=args.finding,
        since_ns=args.since,
        until_ns=args.until,
        text=args.text,
    )


def _time(text: str) -> int:
    from spanledger.service.runs.arguments import moment_ns

    return moment_ns(text, time.time_ns())


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number such as 0, 1 or 20")
    return int(text)


def _dollars(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(amount := float(text)):
            return amount
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an amount such as 0.05")


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a hash in hexadecimal") from None


def _list(args: argparse.Namespace, reader: RunReader) -> int:
    from spanledger.exporters.run_store.filter import Filter
    from spanledger.service.runs import listing

    wanted = _filter(args)
    runs = list(reader.runs(wanted, args.limit or None))
    if args.json:
        _print_json([listing.as_json(one) for one in runs])
        return 0
    _print(listing.lines(runs, _terminal(args)))
    total = reader.count(wanted) if args.limit and len(runs) == args.limit else len(runs)
    if not runs:
        print("no runs" + (" yet" if wanted == Filter() else " like that"), file=sys.stderr)
    elif total > len(runs):
        print(f"{len(runs)} of {total:,} runs; --limit 0 shows all", file=sys.stderr)
    return 0


def _sessions(args: argparse.Namespace, reader: RunReader) -> int:
    from dataclasses import replace

    from spanledger.exporters.run_store.filter import Filter
    from spanledger.service.runs import sessions

    wanted = _filter(args)
    if args.session_name is not None:
        one = reader.session(args.session_name)
        runs = list(reader.runs(replace(wanted, session=one.session_id), args.limit or None, oldest_first=True))
        if args.json:
            _print_json(sessions.whole(one, runs))
        else:
            _print(sessions.show(one, runs, _terminal(args)))
        return 0
    found = list(reader.sessions(wanted, args.limit or None))
    if args.json:
        _print_json([sessions.as_json(one) for one in found])
        return 0
    _print(sessions.lines(found, _terminal(args)))
    total = reader.count_sessions(wanted) if args.limit and len(found) == args.limit else len(found)
    if not found:
        print("no sessions" + (" yet" if wanted == Filter() else " with runs like that"), file=sys.stderr)
    elif total > len(found):
        print(f"{len(found)} of {total:,} sessions; --limit 0 shows all", file=sys.stderr)
    return 0


def _show(args: argparse.Namespace, reader: RunReader) -> int:
    from spanledger.service.runs import document, show

    found = reader.find(args.run_name)
    seq = found.seq if args.revision is None else reader.revision(found.columns.run_id, args.revision)
    stored = reader.document(seq)
    events = reader.events(stored)
    if args.json:
        _print_json({**stored, "events": events})
    else:
        _print(show.lines(document.read(stored), events, _terminal(args)))
    return 0


def _step(args: argparse.Namespace, reader: RunReader) -> int:
    from spanledger.service.runs import moment

    found = _run(args.run_name, reader)
    if args.number >= len(found.steps):
        have = f"its steps are 0 to {len(found.steps) - 1}" if found.steps else "it has none"
        print(f"spanledger runs: the run has no step {args.number}; {have}", file=sys.stderr)
        return 1
    if args.json:
        _print_json(moment.as_json(found, args.number))
    else:
        _print(moment.lines(found, args.number, _terminal(args), full=args.full))
    return 0


def _diff(args: argparse.Namespace, reader: RunReader) -> int:
    from spanledger.service.runs import compare, side_by_side

    a, b = _run(args.run_a, reader), _run(args.run_b, reader)
    pairs = compare.compare(a, b)
    if args.json:
        _print_json(compare.as_json(a, b, pairs))
    else:
        _print(side_by_side.lines(a, b, pairs, _terminal(args), every=args.all))
    return int(args.exit_code and compare.first(pairs) is not None)


def _export(args: argparse.Namespace, reader: RunReader) -> int:
    wanted = _filter(args)
    limit = args.limit or None
    total = reader.count(wanted)
    runs = reader.runs(wanted, limit, oldest_first=True)
    documents = _watched((reader.text(one.seq) for one in runs), min(total, limit or total), "exported")
    if args.output is None:
        sys.stdout.flush()
        for text in documents:
            sys.stdout.buffer.write(_line(text))
        return 0
    with _whole_file(Path(args.output)) as output:
        written = 0
        for text in documents:
            output.write(_line(text))
            written += 1
    print(f"{written:,} runs written to {args.output}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace, reader: RunReader) -> int:
    from spanledger.service.runs import verification

    base, head = reader.base(), reader.head()
    entries = _watched(reader.entries(), head.seq - base.seq, "verified")
    verdict = verification.verify(reader, entries, args.head)
    if args.json:
        _print_json(verification.as_json(verdict))
    else:
        _print(verification.lines(verdict, _terminal(args)))
    return 1 if verdict.problems else 0


def _run(name: str, reader: RunReader) -> Run:
    from spanledger.service.runs import document

    found: Listed = reader.find(name)
    return document.read(reader.document(found.seq))


def _terminal(args: argparse.Namespace) -> Terminal:
    from dataclasses import replace

    from spanledger.service.runs.terminal import terminal

    shown = terminal(sys.stdout, os.environ, ascii_only=args.ascii)
    currency = getattr(args, "currency", None)
    return shown if currency is None else replace(shown, currency=currency.code, rate=currency.rate)


def _print(lines: Iterable[str]) -> None:
    # Letters that the terminal's encoding has not are written as escapes.
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding))


def _print_json(value: Any) -> None:
    # ASCII, so that no encoding and no half character in a document can be in the way.
    json.dump(value, sys.stdout, indent=2)
    print()


def _watched(items: Iterable[Any], total: int, done: str) -> Iterator[Any]:
    """Yield `items`; on a terminal, say on standard error how far it is."""
    shown = not sys.stderr.isatty()
    due = time.monotonic() + _PROGRESS_EVERY_S
    said = False
    for number, item in enumerate(items, 1):
        if not shown and (now := time.monotonic()) >= due:
            due, said = now + _PROGRESS_EVERY_S, True
            print(
                f"\r{done} {number:,} of {total:,} ({100 * number // max(total, 1)}%)",
                end="",
                file=sys.stderr,
                flush=True,
            )
        yield item
    if said:
        print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)


def _line(text: str) -> bytes:
    # JSON is UTF-8 whatever the terminal speaks; bytes that are none (a damaged file) stay as they are.
    return text.encode("utf-8", "surrogateescape") + b"\n"


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when all of it is there. Raises OSError with its name."""
    part = path.with_name(path.name + ".part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(fd, "wb") as output:  # noqa: PTH123 - a descriptor has no path
                yield output
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        # One that a write ends with does not say of which file.
        raise OSError(error.errno, error.strerror, str(path)) from error
