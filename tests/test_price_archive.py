"""How the price lists are kept that come with spanledger."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import pytest

from spanledger.conventions.prices import catalogue
from spanledger.conventions.prices.archive import UNREADABLE, Archive, packed
from spanledger.conventions.prices.genai_cut import installed
from spanledger.conventions.prices.override_file import BadPrices

KEPT = Path(catalogue.__file__).with_name(catalogue.FILE)


def test_the_cut_is_that_of_the_package() -> None:
    """Of the release that it names, every model as the package has it, byte for byte."""
    kept = Archive(KEPT.read_bytes())
    if kept.about["release"] != version("genai_prices"):
        pytest.skip("another release of genai-prices is installed")
    about, models = installed()
    assert {name: kept[name] for name in kept} == models
    assert kept.about == about


def test_another_release_of_the_package_is_taken_as_it_is() -> None:
    """Whoever installs a newer one has its prices."""
    about, models = installed()
    newer = {**about, "release": "99"}, {seller: rows[:1] for seller, rows in models.items()}
    with (
        patch.object(catalogue, "version", return_value="99"),
        patch("spanledger.conventions.prices.genai_cut.installed", return_value=newer),
    ):
        made = catalogue.shipped_catalogue.__wrapped__()

    assert made.source == "genai-prices@99"
    assert [model.id for _, model in made.models()] == [rows[0]["id"] for rows in models.values()]


def test_the_package_is_not_imported_where_the_cut_will_do() -> None:
    """It would be a fifth of a second, and 9 MiB at rest."""
    code = (
        "import sys; from spanledger.conventions.prices.catalogue import shipped_catalogue as read;"
        "found = read().find('openai', ('gpt-4o',)); print(found.name, 'genai_prices' in sys.modules)"
    )
    if Archive(KEPT.read_bytes()).about["release"] != version("genai_prices"):
        pytest.skip("another release of genai-prices is installed")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "gpt-4o False\n"


def test_the_same_rows_are_the_same_bytes() -> None:
    """And are read as they were."""
    rows = {"b": {"x": [1, "2"]}, "a": {}}
    data = packed({"release": "1"}, rows)
    assert data == packed({"release": "1"}, dict(reversed(rows.items())))
    read = Archive(data)
    assert (dict(read), list(read), len(read), read.about) == (rows, ["a", "b"], 2, {"release": "1"})
    assert "c" not in read
    assert "about" not in read  # which a span may name as its provider
    with pytest.raises(KeyError):
        read["c"]


def _zip(method: int, text: str = "{}") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr("a.json", text)
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", packed({}, {})[:-9], _zip(zipfile.ZIP_LZMA), _zip(zipfile.ZIP_DEFLATED, " " * (65 * 2**20))],
    ids=["empty", "stump", "cut short", "another method", "too large"],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    """Before anything is unpacked."""
    with pytest.raises(UNREADABLE):
        Archive(data)


def test_a_broken_file_of_the_package_is_found_out_at_the_start() -> None:
    """And not when a seller is first asked for, in the midst of a request."""
    data = KEPT.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        at = file.getinfo("openai.json").header_offset + 200
    for broken in (b"", data[:-40], data[:at] + bytes(4) + data[at + 4 :]):
        with patch.object(Path, "read_bytes", return_value=broken), pytest.raises(BadPrices, match="install"):
            catalogue.shipped_catalogue.__wrapped__()
