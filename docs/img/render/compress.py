"""Make pictures small enough for a repository: `python compress.py FROM TO`; needs Pillow."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH = 1200
COLORS = 255
MAX_BYTES = 250_000


def main(source: Path, target: Path) -> None:
    """Write every PNG of `source` with few colours to `target`, as `dashboard-<name>.png`."""
    for path in sorted(source.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        small = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)
        written = target / f"dashboard-{path.name}"
        small.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(written, optimize=True)
        print(written, written.stat().st_size, "too large" if written.stat().st_size > MAX_BYTES else "")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
