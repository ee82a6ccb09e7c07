"""The file exporter: whole records, rotation, and disks that are full."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest
import zstandard

from spanledger.exporters.file import FileConfig, FileExporter
from spanledger.exporters.otlp_json import to_json
from spanledger.exporters.output_file import OutputFile, Rotation, expired, frame
from spanledger.processor.batch import Delivery
from tests.fakes import Clock, Numbers, host, request, span

NOW = datetime(2026, 11, 20, 8, 0, 0, 123_456, tzinfo=UTC)


def one(number: int = 1) -> Delivery:
    """Return a delivery of one span."""
    return Delivery("traces", request(span(number)).SerializeToString(), 1, 0)


@asynccontextmanager
async def exporting(numbers: Numbers | None = None, **config: Any) -> AsyncIterator[FileExporter]:
    """Run an exporter; at the end everything is written."""
    clock = Clock()

    async def wait(delay_s: float, _wake: Any) -> None:
        clock.now_s += delay_s

    exporter = FileExporter(FileConfig.model_validate(config), host("file", clock, numbers), wait=wait)
    await exporter.start()
    try:
        yield exporter
    finally:
        await exporter.shutdown(clock.now_s + 5)


def put(exporter: FileExporter, *deliveries: Delivery) -> None:
    """Offer deliveries."""
    for delivery in deliveries:
        exporter.reserve(delivery)
        exporter.commit(delivery)


def names(text: bytes) -> list[str]:
    """Return the names of the spans in JSON lines."""
    return [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] for line in text.splitlines()]


async def test_json_lines_in_order(tmp_path: Path) -> None:
    """A request on each line, in a file for the owner's eyes only."""
    path = tmp_path / "out.jsonl"
    async with exporting(path=str(path)) as exporter:
        put(exporter, *(one(n) for n in range(1, 21)))
    assert names(path.read_bytes()) == [f"span {n}" for n in range(1, 21)]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_without_append_the_file_is_emptied(tmp_path: Path) -> None:
    """As in the Collector; `append: true` keeps it."""
    for append, expected in ((False, ["span 2"]), (True, ["span 1", "span 2"])):
        path = tmp_path / f"{append}.jsonl"
        path.write_bytes(to_json("traces", one(1).data)[0].encode() + b"\n")
        async with exporting(path=str(path), append=append) as exporter:
            put(exporter, one(2))
        assert names(path.read_bytes()) == expected


async def test_a_reload_empties_nothing(tmp_path: Path) -> None:
    """What this process wrote stays, whether the exporter is replaced or put back after a failed reload."""
    path = tmp_path / "out.jsonl"
    async with exporting(path=str(path)) as old:
        put(old, one(1))
        await drained(old)
        async with exporting(path=str(tmp_path / "." / "out.jsonl"), rotation=None) as new:
            put(new, one(2))
        put(old, one(3))
    async with exporting(path=str(path)) as again:
        put(again, one(4))
    assert names(path.read_bytes()) == ["span 1", "span 2", "span 3", "span 4"]


async def test_record_cut_short_by_a_crash_does_not_merge_with_the_next(tmp_path: Path) -> None:
    """The broken line stays a line of its own."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"resourceSpans":[{"reso')
    async with exporting(path=str(path), append=True) as exporter:
        put(exporter, one())
    broken, whole = path.read_bytes().splitlines()
    assert broken == b'{"resourceSpans":[{"reso'
    assert names(whole) == ["span 1"]


@pytest.mark.parametrize("torn", [b"", b"\x00", b"\x00\x00\x00\x09abc", b"\xff\xff\xff\xff"])
async def test_protobuf_records_follow_a_whole_one(tmp_path: Path, torn: bytes) -> None:
    """What a crash left of the last record is removed: no reader could find the next one behind it."""
    path = tmp_path / "out.pb"
    path.write_bytes(frame(one(1).data, "length") + torn)
    async with exporting(path=str(path), format="proto", append=True) as exporter:
        put(exporter, one(2))
    assert path.read_bytes() == frame(one(1).data, "length") + frame(one(2).data, "length")


@pytest.mark.parametrize("form", ["json", "proto"])
async def test_compressed_file_is_the_plain_file_compressed(tmp_path: Path, form: str) -> None:
    """`zstdcat` is all one needs."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for path, compression in ((plain, "none"), (packed, "zstd")):
        async with exporting(path=str(path), format=form, compression=compression) as exporter:
            put(exporter, one(1), one(2))
    unpacked = zstandard.ZstdDecompressor().stream_reader(packed.read_bytes(), read_across_frames=True).read()
    assert unpacked == plain.read_bytes()


async def test_directory_is_created_only_when_asked(tmp_path: Path) -> None:
    """A mistyped path is said at the start."""
    path = tmp_path / "a" / "b" / "out.jsonl"
    with pytest.raises(ValueError, match="No such file or directory; set create_directory: true"):
        async with exporting(path=str(path)):
            pass
    async with exporting(path=str(path), create_directory=True) as exporter:
        put(exporter, one())
    assert names(path.read_bytes()) == ["span 1"]


async def test_impossible_paths_stop_the_start(tmp_path: Path) -> None:
    """A directory, a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="cannot write"):
            async with exporting(path=str(path)):
                pass
    async with exporting(path="/dev/null") as exporter:
        put(exporter, one())


async def test_full_disk_drops_with_a_reason_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file keeps whole records; the pipeline and the later records go on."""
    path = tmp_path / "out.jsonl"
    numbers = Numbers()
    real = os.write
    async with exporting(numbers, path=str(path)) as exporter:
        put(exporter, one(1))
        await drained(exporter)

        # Half a record reaches the disk before it is full.
        steps = iter([lambda fd, data: real(fd, data[:10]), full_disk])
        monkeypatch.setattr(os, "write", lambda fd, data: next(steps)(fd, data))  # noqa: PLW0108 - a step each time
        put(exporter, one(2))
        await drained(exporter)
        monkeypatch.setattr(os, "write", real)
        put(exporter, one(3))
    assert names(path.read_bytes()) == ["span 1", "span 3"]
    assert numbers.values["spanledger_dropped_items_total", "file", "traces", "permanent"] == 1
    assert numbers.values["otelcol_exporter_send_failed_spans_total", "file", "ENOSPC", "true"] == 1


def full_disk(_fd: int, _data: Any) -> int:
    """Have no room."""
    raise OSError(errno.ENOSPC, "No space left on device")


async def drained(exporter: FileExporter) -> None:
    """Wait until nothing is in line."""
    while tasks := exporter._running():
        await asyncio.wait(tasks)


async def test_other_errors_are_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hiccup of a network disk."""
    real = os.write
    steps = iter([OSError(errno.EIO, "Input/output error")])

    def flaky(fd: int, data: Any) -> int:
        for error in steps:
            raise error
        return real(fd, data)

    numbers = Numbers()
    async with exporting(numbers, path=str(tmp_path / "out")) as exporter:
        monkeypatch.setattr(os, "write", flaky)
        put(exporter, one())
    assert names((tmp_path / "out").read_bytes()) == ["span 1"]
    assert numbers.total("spanledger_exporter_retries_total") == 1


# Rotation.


def rotating(path: Path, max_bytes: int = 100, days: int = 0, backups: int = 0) -> OutputFile:
    """Return an open file that rotates."""
    file = OutputFile(path, "line", append=False, rotation=Rotation(max_bytes, days, backups, local_time=False))
    file.open()
    return file


def test_rotation_begins_a_new_file_before_the_limit(tmp_path: Path) -> None:
    """Old files carry the time before their extension; names never collide."""
    file = rotating(tmp_path / "out.jsonl")
    for letter in "abcde":
        file.write(letter.encode() * 59 + b"\n", NOW)
    file.close()
    found = {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()}
    assert found == {
        "out.jsonl": b"e",
        "out-2026-11-20T08-00-00.123.jsonl": b"a",
        "out-2026-11-20T08-00-00.123.1.jsonl": b"b",
        "out-2026-11-20T08-00-00.123.2.jsonl": b"c",
        "out-2026-11-20T08-00-00.123.3.jsonl": b"d",
    }


def test_record_above_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    """It is not lost and not cut."""
    file = rotating(tmp_path / "out")
    file.write(b"x" * 500, NOW)
    file.write(b"y" * 500, NOW)
    file.close()
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == [500, 500]


def test_old_files_are_deleted_by_number_and_age_and_nothing_else(tmp_path: Path) -> None:
    """The newest two of three days; files of others stay."""
    others = ["out-notes.jsonl", "out-2026-11-20.jsonl", "other-2020-01-01T00-00-00.000.jsonl"]
    for name in others:
        (tmp_path / name).touch()
    file = rotating(tmp_path / "out.jsonl", backups=2, days=3)
    for day in range(6):
        file.write(b"x" * 60, NOW + timedelta(days=day))
    file.close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(
        [*others, "out.jsonl", "out-2026-11-24T08-00-00.123.jsonl", "out-2026-11-25T08-00-00.123.jsonl"]
    )


def test_age_alone_decides_without_a_number() -> None:
    """Three days back, to the second."""
    names_ = ["out-2026-11-18T08-00-00.000", "out-2026-11-17T08-00-00.000", "out-2026-11-17T07-59-59.999"]
    rotated = [Path(name) for name in names_]
    assert expired(rotated, Rotation(1, 3, 0, local_time=False), NOW) == [Path(names_[2])]


async def test_rotation_key_alone_turns_it_on(tmp_path: Path) -> None:
    """`rotation:` with nothing below it has the Collector's defaults, and keeps what is there."""
    config = FileConfig.model_validate({"path": "x", "rotation": None})
    assert config.rotation is not None
    assert (config.rotation.max_megabytes, config.rotation.max_backups, config.rotation.max_days) == (100, 100, 0)
    for _ in range(2):
        async with exporting(path=str(tmp_path / "out"), rotation=None) as exporter:
            put(exporter, one())
    assert len(names((tmp_path / "out").read_bytes())) == 2


async def test_compressed_file_of_an_earlier_run_is_put_aside(tmp_path: Path) -> None:
    """Nobody can tell whether its last record is whole."""
    for _ in range(2):
        async with exporting(path=str(tmp_path / "out"), compression="zstd", rotation={}) as exporter:
            put(exporter, one())
    assert len(list(tmp_path.glob("out*"))) == 2  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "Field required"),
        ({"path": ""}, "at least 1 character"),
        ({"path": "x", "format": "xml"}, "'json' or 'proto'"),
        ({"path": "x", "compression": "gzip"}, "'zstd'"),
        ({"path": "x", "compression": "zstd", "append": True}, "do not go together"),
        ({"path": "x", "rotation": {"max_megabytes": 0}}, "greater than 0"),
        ({"path": "x", "group_by": {}}, "Extra inputs"),
        ({"path": "x", "flush_interval": "1s"}, "Extra inputs"),
    ],
)
def test_wrong_configuration_is_explained(config: dict[str, Any], message: str) -> None:
    """Before anything starts."""
    with pytest.raises(pydantic.ValidationError, match=message):
        FileConfig.model_validate(config)
