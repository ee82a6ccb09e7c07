"""The `spanledger` command: finds its subcommands in `service/commands/`, one module each.

Such a module has `NAME`, `HELP` (one line), `EXAMPLES`, `add_arguments(parser)` and `run(args) -> int`, and
imports whatever is heavy inside `run`, so that `spanledger --help` is quick. Exit codes: 0 done, 1 failed,
2 wrong usage or configuration.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from spanledger import __version__
from spanledger.service import commands

_INTERRUPTED = 130
"""128 + SIGINT, what shells expect after Ctrl-C."""
_CANNOT_WRITE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What happens when the place that is written to is full, broken or gone, and is no mistake of the program."""


class Command(Protocol):
    """What a module of `service/commands/` offers."""

    NAME: str
    HELP: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""
        ...


def discover() -> Iterator[Command]:
    """Yield the commands in alphabetical order of their modules."""
    for module in pkgutil.iter_modules(commands.__path__, commands.__name__ + "."):
        yield cast("Command", importlib.import_module(module.name))


class _Parser(argparse.ArgumentParser):
    """Speaks of what it does not know itself, where argparse leaves that to the parser at the top and its usage."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parse, and end with the usage of this very command when something is left over."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            known = [name for action in self._actions for name in action.option_strings]
            meant = difflib.get_close_matches(left[0].partition("=")[0], known, n=1)
            if not meant and not left[0].startswith("-") and "--config" in known:
                meant = [f"--config {left[0]}"]
            self.error(f"unrecognized arguments: {' '.join(left)}" + (f" (did you mean {meant[0]}?)" if meant else ""))
        return found, left


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    top = _Parser(
        prog="spanledger",
        description="An OpenTelemetry sidecar for AI agents: OTLP in, clean priced spans and Prometheus metrics out.",
        epilog="example:\n  spanledger run --config otel-config.yaml\n\n`spanledger COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"spanledger {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND")
    for command in discover():
        sub = subparsers.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP[0].upper() + command.HELP[1:] + ".",
            epilog=f"examples:\n{command.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return top


# gRPC's core writes lines of its own to standard error, for strangers' requests too; what matters is in our log.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _open_closed_streams()
    top = parser()
    args = top.parse_args(arguments)
    if not hasattr(args, "run"):
        top.print_help(sys.stderr)
        return 2
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        # Python flushes once more at exit, which must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # Of a reader that had enough nobody wants to hear.
        if error.errno != errno.EPIPE:
            print(
                f"spanledger: cannot write to {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr
            )
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        if not _is_invalid_config(error):
            raise
        print(f"spanledger: {error}", file=sys.stderr)
        return 2
    return code


def _open_closed_streams() -> None:
    """Take /dev/null where standard output or error was closed (`>&-`): else the next socket gets their number."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it stays open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115


def _is_invalid_config(error: Exception) -> bool:
    # Imported only now: most commands never get here, and the import is not cheap.
    from spanledger.service.nodes import InvalidConfig

    return isinstance(error, InvalidConfig)


if __name__ == "__main__":
    sys.exit(main())
