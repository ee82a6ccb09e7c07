"""Writes the tables of docs/reliability.md from what the fault suite and the soak measured.

    make test-faults ARGS='--rounds 5 --fault-report faults.jsonl'
    python -m tests.faults.report faults.jsonl [soak.json]

What stands between the marks of that page is replaced; the rest of it is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("what was done", "times", "acknowledged", "lost", "counted as dropped", "came twice", "again by clients",
           "shown by")  # fmt: skip
COUNTS = ("times", "acknowledged", "delivered", "lost", "duplicated", "repeated")
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def faults(rows: list[dict[str, Any]]) -> str:
    """Return the table of faults; several measurements of one fault are added up."""
    together: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = together.setdefault(row["fault"], {**row, "dropped": {}, **dict.fromkeys(COUNTS, 0)})
        for count in COUNTS:
            known[count] += row[count]
        for reason, count in row["dropped"].items():
            known["dropped"][reason] = known["dropped"].get(reason, 0) + count
        known["notes"] = row["notes"]
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in sorted(together.values(), key=lambda row: (row["part"], row["fault"])):
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in row["dropped"].items()) or "0"
        notes = f" ({row['notes']})" if row["notes"] else ""
        name = re.sub(r"\[.*", "", row["test"])
        lines.append(
            f"| {row['fault']}{notes} | {row['times']:,} | {row['acknowledged']:,} | {row['lost']:,} | {dropped} "
            f"| {row['duplicated']:,} | {row['repeated']:,} | `test_{row['part']}.py` `{name}` |"
        )
    return "\n".join(lines)


def soak(summary: dict[str, Any]) -> str:
    """Return the table of a soak."""
    unit = {"rss_mib": "resident memory, MiB", "series": "series of `/metrics`", "runs_open": "runs open",
            "queue_requests": "requests in the queue", "queue_file_mib": "file of the queue, MiB",
            "run_store_mib": "run store, MiB", "open_runs_file_mib": "file of open runs, MiB",
            "threads": "threads", "descriptors": "file descriptors"}  # fmt: skip
    lines = ["| | largest | at the end | growth an hour, last third |", "|---|--:|--:|--:|"]
    growth = summary["growth_an_hour_in_the_last_third"]
    for key, name in unit.items():
        lines.append(f"| {name} | {summary['largest'][key]:,} | {summary['last'][key]:,} | {growth[key]:,} |")
    health, garbage = summary["health_answer_s"], summary["garbage_collections"]
    ms = {name: f"{seconds * 1000:,.0f} ms" for name, seconds in health.items()}
    longest_cpu, longest = (f"{garbage[key][-1] * 1000:,.0f} ms" for key in ("longest_cpu_s", "longest_s"))
    sentences = (
        f"{summary['minutes']} minutes, {summary['spans']:,} spans of {summary['runs']:,} runs.",
        f"{summary['refused_requests']:,} requests were refused and sent again, {summary['given_up_requests']:,} were",
        f"given up, {summary['dropped']:,.0f} items dropped.",
        f"The health check, asked ten times a second, answered within {ms['p50']} (median), {ms['p99']} (99th",
        f"percentile), {ms['max']} (longest). Garbage was collected in full {garbage['collections'][-1]} times; the",
        f"longest took {longest_cpu} of CPU, {longest} by the clock.",
    )
    lines += ["", *sentences]
    return "\n".join(lines)


def replaced(page: str, mark: str, text: str) -> str:
    """Return `page` with `text` between the two comments of `mark`."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.DOTALL)
    assert pattern.search(page), f"{PAGE} has no mark {mark!r}"
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def main(arguments: list[str]) -> None:
    """Write the page."""
    page = PAGE.read_text()
    for path in map(Path, arguments):
        if path.suffix == ".jsonl":
            page = replaced(page, "faults", faults([json.loads(line) for line in path.read_text().splitlines()]))
        else:
            page = replaced(page, "soak", soak(json.loads(path.read_text())["summary"]))
    PAGE.write_text(page)


if __name__ == "__main__":
    main(sys.argv[1:])
