"""Pack a corpus of captures into tests/fixtures/corpus.

    python -m tests.corpus.pack CORPUS

CORPUS holds `<language>/<stack>/<scenario>.*`. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import lzma
import sys
import tarfile
from pathlib import Path

from tests.corpus.captures import ARCHIVES, STACKS, stack_files


def archive(directory: Path) -> bytes:
    """Return a stack's directory as a .tar.xz; nothing in it depends on when or by whom it was made."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in stack_files(directory):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def main(arguments: list[str]) -> int:
    """Write one archive for each stack."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    total = 0
    for stack in STACKS:
        target = ARCHIVES / f"{stack}.tar.xz"
        target.parent.mkdir(parents=True, exist_ok=True)
        total += target.write_bytes(archive(Path(arguments[0]) / stack))
    print(f"{len(STACKS)} stacks, {total} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
