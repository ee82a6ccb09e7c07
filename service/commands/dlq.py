"""`spanledger dlq`: what a backend refused for good, out of the queues on disk."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanledger.service.options import add_action

if TYPE_CHECKING:
    from spanledger.exporters.dead_letters import DeadLetter

NAME = "dlq"
HELP = "list, write out, replay or discard requests that a backend refused for good"
EXAMPLES = """\
  spanledger dlq list
  spanledger dlq export exporter/otlp_http/langfuse:17 > request.binpb
  spanledger dlq replay --all
  spanledger dlq discard exporter/otlp_http/langfuse:17
"""

_IDS = "dead letters, as `list` names them: OWNER:NUMBER"
_WHOSE = "; be the user that the sidecar runs as"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    one = _action(actions, "list", _list, "list dead letters, the oldest first", """\
  spanledger dlq list
  spanledger dlq list --directory /var/lib/spanledger/queues --json
""")  # fmt: skip
    one.add_argument("--json", action="store_true", help="print one JSON object a line")
    one = _action(
        actions, "export", _export, "write the request of one dead letter, OTLP protobuf, to standard output", """\
  spanledger dlq export exporter/otlp_http/langfuse:17 > request.binpb
""")  # fmt: skip
    one.add_argument("ids", metavar="ID", nargs=1, help="a dead letter, as `list` names it: OWNER:NUMBER")
    one = _action(
        actions, "replay", _replay, "put dead letters back in line; a running sidecar sends them in seconds", """\
  spanledger dlq replay exporter/otlp_http/langfuse:17
  spanledger dlq replay --all
""")  # fmt: skip
    _add_choice(one)
    one = _action(actions, "discard", _discard, "delete dead letters", """\
  spanledger dlq discard exporter/otlp_http/langfuse:17
  spanledger dlq discard --all
""")  # fmt: skip
    _add_choice(one)


def _action(actions: Any, name: str, action: Callable[..., int], help_: str, examples: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, action, help_, examples)
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="`directory` of file_storage (default: $SPANLEDGER_DATA_DIR/queues, else ./spanledger-data/queues)",
    )
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", metavar="ID", nargs="*", default=[], help=_IDS)
    which.add_argument("--all", action="store_true", help="all of them")


def run(args: argparse.Namespace) -> int:
    """Do what is asked. Returns 0; 1 when there is no such dead letter, or a file cannot be used; 2 without directory.

    Raises OSError without a file name when standard output cannot be written to.
    """
    directory = Path(args.directory or Path(os.environ.get("SPANLEDGER_DATA_DIR") or "./spanledger-data") / "queues")
    try:
        # A directory that may not be read looks like an empty one.
        os.scandir(directory).close()
    except (FileNotFoundError, NotADirectoryError):
        there_is_none = f"there is no directory {directory}; name the one of file_storage with --directory"
        print(f"spanledger dlq: {there_is_none}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"spanledger dlq: {directory} cannot be read: {error.strerror}{_WHOSE}", file=sys.stderr)
        return 2
    try:
        action: Callable[[argparse.Namespace, Path], int] = args.action
        return action(args, directory)
    except LookupError as error:
        print(f"spanledger dlq: {error.args[0]}", file=sys.stderr)
        return 1


def _list(args: argparse.Namespace, directory: Path) -> int:
    letters = [letter for _, letter in _found(directory)]
    if args.json:
        for letter in letters:
            print(json.dumps(_as_json(letter), ensure_ascii=False))
        return 0
    if not letters:
        print(f"no dead letters in {directory}")
        return 0
    wide = max(len(letter.id) for letter in letters)
    print(f"{'ID':{wide}}  {'SIGNAL':7}  {'ITEMS':>7}  {'BYTES':>9}  {'REFUSED AT':20}  WHY")
    for letter in letters:
        print(
            f"{letter.id:{wide}}  {letter.signal:7}  {letter.items:7}  {letter.size:9}  {_time(letter.died_ns):20}  "
            f"{letter.why}"
        )
    return 0


def _export(args: argparse.Namespace, directory: Path) -> int:
    from spanledger.exporters.dead_letters import data

    ((path, letter),) = _chosen(args.ids, directory)
    with _opened(path) as connection:
        request = data(connection, letter)
    sys.stdout.buffer.write(request)
    return 0


def _replay(args: argparse.Namespace, directory: Path) -> int:
    from spanledger.exporters.dead_letters import mark

    count = _change(args, directory, mark)
    print(f"{count} back in line: a running sidecar sends them within 5 s, else the next one that starts")
    return 0


def _discard(args: argparse.Namespace, directory: Path) -> int:
    from spanledger.exporters.dead_letters import delete

    print(f"{_change(args, directory, delete)} deleted")
    return 0


def _change(args: argparse.Namespace, directory: Path, change: Callable[[sqlite3.Connection, DeadLetter], None]) -> int:
    chosen = list(_found(directory)) if args.all else _chosen(args.ids, directory)
    for path, letter in chosen:
        with _opened(path) as connection:
            change(connection, letter)
    return len(chosen)


def _found(directory: Path) -> Iterator[tuple[Path, DeadLetter]]:
    from spanledger.exporters.dead_letters import letters
    from spanledger.exporters.queue_file import SUFFIX

    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with _opened(path) as connection:
            found = list(letters(connection))
        yield from ((path, letter) for letter in found)


def _chosen(ids: Sequence[str], directory: Path) -> list[tuple[Path, DeadLetter]]:
    known = {letter.id: (path, letter) for path, letter in _found(directory)}
    if missing := [one for one in ids if one not in known]:
        raise LookupError(f"there is no dead letter {missing[0]}; `spanledger dlq list` names those that there are")
    return [known[one] for one in dict.fromkeys(ids)]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a queue's file. Raises LookupError, with its name, for whatever goes wrong with it in the block, too."""
    from spanledger.exporters.queue_file import Unusable, connect

    try:
        with contextlib.closing(connect(path, check=False)) as connection:
            yield connection
    except Unusable as error:
        raise LookupError(str(error)) from error
    except PermissionError as error:
        raise LookupError(f"{path} cannot be used: {error.strerror}{_WHOSE}") from error
    except (sqlite3.Error, OSError) as error:
        raise LookupError(f"{path} cannot be used: {getattr(error, 'strerror', None) or error}") from error


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "owner": letter.owner,
        "signal": letter.signal,
        "items": letter.items,
        "bytes": letter.size,
        "refused_at": _time(letter.died_ns),
        "why": letter.why,
        "replay": letter.replay,
    }


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
