"""Takes a new version of LiteLLM's price map as second catalogue, and says what changes.

    python -m spanledger.conventions.prices.refresh FILE --release 1.109.1 --as-of 2026-11-12 [--write]

FILE is `model_prices_and_context_window.json` of github.com/BerriAI/litellm; its package has it as
`litellm/model_prices_and_context_window_backup.json` (unzip it; LiteLLM itself is never imported). Without `--write`
nothing is written. A file that has lost a tenth of the models is refused: look into it, then say `--force`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from spanledger.conventions.prices.archive import Archive, packed
from spanledger.conventions.prices.litellm_data import cut
from spanledger.conventions.prices.second_catalogue import FILE, read_second

_TARGET: Final = Path(__file__).with_name(FILE)
_KEPT_SHARE: Final = 0.9
_SHOWN: Final = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the file can be taken, 1 when it cannot."""
    parser = argparse.ArgumentParser(prog="refresh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--release", required=True, help="version of LiteLLM that the file is from")
    parser.add_argument("--as-of", required=True, type=date.fromisoformat, help="day of that version")
    parser.add_argument("--target", type=Path, default=_TARGET, help="the catalogue to compare with and to write")
    parser.add_argument("--write", action="store_true", help="write it")
    parser.add_argument("--force", action="store_true", help="even if much is missing that was there before")
    options = parser.parse_args(arguments)
    try:
        document = json.loads(options.file.read_text("utf-8"), parse_float=Decimal)
        if not isinstance(document, dict):
            raise ValueError("not a price map: the top must be an object")
        taken = cut(document)
        data = packed({"release": options.release, "as_of": options.as_of.isoformat()}, taken.models)
        read_second(data, options.file.name)
    except (OSError, ValueError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    print(f"{taken.count()} prices taken; left out: {_listed(taken.left)}")
    old = _flat(Archive(options.target.read_bytes())) if options.target.exists() else {}
    new = _flat(Archive(data))
    for line in differences(old, new):
        print(line)
    if sum(key in new for key in old) < _KEPT_SHARE * len(old) and not options.force:
        print(f"refused: more than a tenth of the {len(old)} prices would go; --force takes it", file=sys.stderr)
        return 1
    if options.write:
        options.target.write_bytes(data)
        print(f"{options.target}: {len(data)} bytes")
    return 0


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield what is gone, new and changed, each with some examples."""
    for mark, keys in (
        ("-", sorted({*old} - {*new})),
        ("+", sorted({*new} - {*old})),
        ("~", sorted(key for key in old if key in new and old[key] != new[key])),
    ):
        yield f"{mark} {len(keys)}"
        for key in keys[:_SHOWN]:
            yield f"  {mark} {key}" + (f": {old[key]} -> {new[key]}" if mark == "~" else "")


def _flat(models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    return {
        "/".join(filter(None, (seller, region, name))): json.dumps(row, default=float, sort_keys=True)
        for seller, regions in models.items()
        for region, rows in regions.items()
        for name, row in rows.items()
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items(), key=lambda pair: -pair[1]))


if __name__ == "__main__":
    sys.exit(main())
