"""What the sidecar costs, beside its peers, measured in one run: `make bench`.

    python -m bench [--quick] [--only NAME] [--json FILE]
    python -m bench --markdown FILE     what docs/performance.md says of a run, from its JSON
    python -m bench --pages FILE        the same, written into docs/performance.md and the README

One core is for what is measured, the others are for the load generator and the backend. CPU time is the operating
system's. Ratios are the result: on another or a busy machine the numbers differ, their ratios much less.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench import machine, pages
from bench.bed import Bed
from bench.measures.growth import attributes, open_runs, series
from bench.measures.lag import lag
from bench.measures.latency import latency
from bench.measures.rest import rest
from bench.measures.stages import stages
from bench.measures.throughput import throughput
from bench.report import rows_of

MEASURES: Final[dict[str, Callable[[Bed], dict[str, Any]]]] = {
    "rest": rest,
    "throughput": throughput,
    "latency": latency,
    "open_runs": open_runs,
    "series": series,
    "attributes": attributes,
    "lag": lag,
    "stages": stages,
}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less of everything, in under three minutes")
    parser.add_argument("--only", action="append", choices=MEASURES, metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--json", type=Path, default=Path("dist/bench.json"), help="where the numbers go")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="measure nothing, print the tables of a run")
    parser.add_argument("--pages", type=Path, metavar="FILE", help="measure nothing, write the tables into the pages")
    chosen = parser.parse_args()
    results: dict[str, Any]
    if told := chosen.markdown or chosen.pages:
        results = json.loads(told.read_text())
        if chosen.pages:
            pages.write(results)
        else:
            print(*pages.page(results), *pages.quote(results), sep="\n")
        return 0
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results = {"machine": machine.description(), "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]])}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Bed(Path(directory), chosen.quick).open() as bed:
        for name in chosen.only or MEASURES:
            print(f"bench: {name} ...", file=sys.stderr, flush=True)
            try:
                results[name] = MEASURES[name](bed)
            except Exception as error:  # noqa: BLE001 - the others are still worth having
                results.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"
            results["missing"] = bed.missing
            chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    results["machine"]["load_average_1m_at_the_end"] = os.getloadavg()[0]
    results["took_s"] = round(time.monotonic() - began)
    chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    about = results["machine"]
    print(
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}; load average "
        f"{about['load_average_1m']:.1f} before and {about['load_average_1m_at_the_end']:.1f} after, "
        f"{results['took_s']} s{', --quick' if chosen.quick else ''}"
    )
    print(*rows_of(results), sep="\n")
    for what in ("missing", "failed"):
        for name, why in results.get(what, {}).items():
            print(f"\n{what}: {name}: {why}")
    print(f"\nAll numbers are in {chosen.json}.")
    return 1 if "failed" in results else 0


if __name__ == "__main__":
    sys.exit(main())
