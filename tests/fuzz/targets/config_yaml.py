"""Configuration files and `--set`: YAML, merging, references, types, cross checks, and showing it all again."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from spanledger.service.config import load, packaged_config
from spanledger.service.nodes import InvalidConfig
from tests.fuzz.draw import Draw


@functools.cache
def _packaged() -> bytes:
    return Path(packaged_config()).read_bytes()


def fuzz(data: bytes) -> None:
    """Check that any text is a configuration, or is refused with a sentence for each mistake."""
    draw = Draw(data)
    over, setting = draw.flag(), draw.flag()
    text = draw.rest()
    sources = ["packaged.yaml"] if setting else ["packaged.yaml", "own.yaml"] if over else ["own.yaml"]
    sets = [text.decode("utf-8", "replace")] if setting else []

    def read(name: str) -> bytes:
        return text if name == "own.yaml" else _packaged()

    try:
        config = load(sources, sets, {"HOME": "/x"}, read=read)
    except InvalidConfig as error:
        assert str(error)  # noqa: PT017 - most data end here
        return
    json.dumps(config.as_dict(), default=str)
