"""What the debug exporter shows, and what it never does."""

from __future__ import annotations

import logging

import pytest

from spanledger.exporters.debug import MAX_ITEMS, MAX_LINES, DebugConfig, DebugExporter, Sampler, render
from spanledger.exporters.text import printable
from spanledger.processor.batch import Delivery
from tests.fakes import Clock, host, request, span
from tests.test_exporter_json import logs, metrics, traces


def spans(count: int, **attributes: str) -> Delivery:
    """Return a delivery of so many spans."""
    data = request(*(span(n + 1, **attributes) for n in range(count))).SerializeToString()
    return Delivery("traces", data, count, 0, resources=1)


def test_basic_is_a_line_of_counts() -> None:
    """No data, just how much of it."""
    one = spans(3)
    assert render(one, "basic") == [f"traces: 3 spans of 1 resources, {len(one.data)} bytes"]


def test_normal_is_a_line_for_each_item() -> None:
    """Name, ids, attributes; of every signal."""
    (_, first, second) = render(Delivery("traces", traces().SerializeToString(), 2, 0), "normal")
    ids = "00000000000000000000000000000001 0000000000000001"
    assert first.startswith(f"  chat {ids} ERROR text=é\\n\\x00 empty= yes=true")
    assert second.startswith("  span 2")
    (_, record) = render(Delivery("logs", logs().SerializeToString(), 1, 0), "normal")
    assert record.startswith("  gen_ai.evaluation.result ")
    found = render(Delivery("metrics", metrics().SerializeToString(), 5, 0), "normal")[1:]
    assert [line.split()[0] for line in found] == ["g", "s", "h", "e", "q"]
    assert "histogram [count=3 sum=1.5]" in found[2]


def test_detailed_shows_everything() -> None:
    """The JSON form of each item, with resource and scope above it."""
    text = "\n".join(render(Delivery("traces", traces().SerializeToString(), 2, 0), "detailed"))
    assert 'resource {"attributes"' in text
    assert '"traceState": "a=b"' in text
    assert '"intValue": "9223372036854775807"' in text


@pytest.mark.parametrize("verbosity", ["normal", "detailed"])
def test_hostile_text_cannot_forge_lines(verbosity: str) -> None:
    """Line breaks, terminal escapes and direction marks are escaped; long values are cut."""
    hostile = "a\nERROR forged\x1b[2J\u202e\x85\u2028" + "x" * 100_000
    shown = render(spans(1, text=hostile), verbosity)
    assert all(line.isprintable() for line in shown)
    assert sum(map(len, shown)) < 5000


@pytest.mark.parametrize("verbosity", ["normal", "detailed"])
def test_large_request_is_cut(verbosity: str) -> None:
    """A bounded number of lines, and a word about the rest."""
    shown = render(spans(5000, **{f"key_{n}": "v" for n in range(80)}), verbosity)
    assert len(shown) <= MAX_LINES + 2
    if verbosity == "normal":
        assert f"… {5000 - MAX_ITEMS} more" in shown[-1]
        assert "… 16 more" in shown[1]


@pytest.mark.parametrize(
    ("initial", "thereafter", "expected"),
    [
        (2, 1, "1111111111"),  # the default: no sampling
        (2, 3, "1100100100"),
        (2, 0, "1100000000"),
        (0, 5, "0000100001"),
    ],
)
def test_sampling_within_a_second(initial: int, thereafter: int, expected: str) -> None:
    """The first few, then every n-th; a new second begins anew."""
    sampler = Sampler(initial, thereafter)
    assert "".join(str(int(sampler.admits(0.05 * n))) for n in range(10)) == expected
    assert sampler.admits(1.5) is (initial > 0)


def test_exporter_writes_to_the_log_and_always_has_room(caplog: pytest.LogCaptureFixture) -> None:
    """A sink like any other."""
    caplog.set_level(logging.INFO)
    exporter = DebugExporter(DebugConfig(sampling_initial=1, sampling_thereafter=0), host("debug", Clock()))
    for _ in range(3):
        exporter.reserve(spans(1))
        exporter.commit(spans(1))
    exporter.reserve(spans(1))
    exporter.release(spans(1))
    assert caplog.text.count("1 spans of 1 resources") == 1
    assert exporter.statistics() == {"shown": 1, "held_back": 2}


def test_exporter_writes_to_standard_output_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`use_internal_logger: false`."""
    DebugExporter(DebugConfig(use_internal_logger=False), host("debug")).commit(spans(1))
    assert capsys.readouterr().out.startswith("traces: 1 spans")


def test_printable_keeps_letters_of_any_language() -> None:
    """Only what does not print is escaped."""
    assert printable("日本語 ünïcode", 100) == "日本語 ünïcode"
    assert printable("a\tb\ud800", 100) == "a\\tb\\ud800"
    assert printable("x" * 10, 4) == "xxxx…"
