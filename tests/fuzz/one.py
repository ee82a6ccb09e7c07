"""Fuzz one target with atheris: `python -m tests.fuzz.one TARGET [libFuzzer options] [corpus directories]`."""

from __future__ import annotations

import importlib
import logging
import sys


def main(arguments: list[str]) -> None:
    """Run until libFuzzer ends the process; 77 is its exit code for a finding."""
    import atheris

    name, *options = arguments
    # What targets log about damaged data would be all there is to read.
    logging.lastResort = None
    with atheris.instrument_imports(include=["spanledger"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    atheris.Setup([f"fuzz-{name}", *options], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
