"""`spanledger runs`: what people see, and what programs read."""

from __future__ import annotations

import errno
import io
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanledger.__main__ import main
from spanledger.conventions.run_document import timestamp
from spanledger.exporters.run_store.records import read, run_record
from spanledger.exporters.run_store.schema import FILE_NAME
from spanledger.exporters.run_store.store import Retention, RunStore
from tests.run_documents import START_NS, call, document, failed_trip, request, step, store_of, trip

GOLDEN = Path(__file__).parent / "fixtures/runs"


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    # Test runners set it, each as they like.
    monkeypatch.setenv("COLUMNS", "116")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with three runs, which is also the default one."""
    unknown = document("abcdef0123456789", agent_name="night-watch", outcome="unknown", completeness="idle")
    store_of(tmp_path, [trip(), failed_trip(), unknown]).close()
    monkeypatch.setenv("SPANLEDGER_DATA_DIR", str(tmp_path))
    return tmp_path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line: (exit code, output, errors)."""

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["runs", *words])
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("list", "list"),
        ("list_ascii", "list --ascii --agent plan* --since 2026-11-20T08:15Z"),
        ("sessions", "sessions"),
        ("session", "sessions s-42"),
        ("session_ascii", "sessions latest --ascii"),
        ("show", "show 4f9a2c81"),
        ("show_failed", "show latest"),
        ("show_ascii", "show latest --ascii"),
        ("step_model", "step 4f9a2c81 4"),
        ("step_first", "step 4f9a2c81 1"),
        ("step_tool", "step latest 8"),
        ("step_agent", "step 4f9a2c81 5"),
        ("diff", "diff 4f9a2c81 77ab03de"),
        ("diff_all", "diff 4f9a2c81 4f9a2c81 --all"),
        ("verify", "verify"),
    ],
)
def test_output(store: Path, run: Run, update_golden: bool, name: str, words: str) -> None:
    """The whole of it, as a person sees it; `--update-golden` writes it anew."""
    code, shown, errors = run(*words.split())
    assert (code, errors) == (0, "")
    path = GOLDEN / f"{name}.txt"
    if update_golden:
        path.write_text(shown)
    assert shown == path.read_text()
    assert not any(line != line.rstrip() for line in shown.splitlines())


@pytest.mark.parametrize("width", ["80", "100", "140", "200"])
def test_tables_fit_the_terminal(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    """Names are cut and columns left out; times and amounts stay whole."""
    monkeypatch.setenv("COLUMNS", width)
    for words in ("list", "show latest", "diff 4f9a2c81 77ab03de", "sessions", "sessions s-42"):
        _, shown, _ = run(*words.split())
        rows = [line for line in shown.splitlines() if line[:1].isdigit() or line[:1] in "+-~" or line[:4] == "s-42"]
        assert len(rows) > 5 or words in ("list", "sessions", "sessions s-42")
        assert max(map(len, rows)) <= int(width)
        assert ("$0.00119" if words == "sessions" else "$0.000467") in shown


def test_lists_as_json(store: Path, run: Run) -> None:
    """The same runs, times as documents have them."""
    code, shown, _ = run("list", "--json", "--outcome", "failure")
    (one,) = json.loads(shown)
    assert code == 0
    assert one["run_id"] == "77ab03de91f24a60"
    assert one["started_at"] == "2026-11-20T08:30:00.000000000Z"
    assert (one["cost_usd"], one["findings"], one["errors"]) == (0.000467, 1, 3)


@pytest.mark.parametrize(
    ("words", "amount"),
    [("list", "0.000234 EUR"), ("show 4f9a2c81", "0.000128 EUR"), ("step 4f9a2c81 9", "0.00036")],
)
def test_amounts_in_another_currency(store: Path, run: Run, words: str, amount: str) -> None:
    """Everywhere in what people read; JSON stays in dollars."""
    _, shown, _ = run(*words.split(), "--currency", "EUR=0.5")

    assert amount in shown
    assert "$" not in shown
    assert "EUR" not in run(*words.split(), "--currency", "EUR=0.5", "--json")[1]


def test_show_as_json_is_the_document(store: Path, run: Run) -> None:
    """With the findings that came by themselves beside it."""
    _, shown, _ = run("show", "4f9a2c81", "--json")
    assert json.loads(shown) == {**trip(), "events": []}


def test_step_as_json(store: Path, run: Run) -> None:
    """What the agent had seen by then and what it had come to."""
    moment = json.loads(run("step", "4f9a2c81", "9", "--json")[1])
    assert [one["index"] for one in moment["had_seen"]] == [1, 2, 3, 4, 5]
    assert moment["is"]["output"] == "All booked: XK7Q2."
    assert moment["before"]["cost_usd"] == pytest.approx(0.000465)
    assert moment["after"]["cost_usd"] == pytest.approx(0.000721)


def test_diff_as_json(store: Path, run: Run) -> None:
    """The first difference, and the first step that is another."""
    told = json.loads(run("diff", "4f9a2c81", "77ab03de", "--json")[1])
    assert told["equal"] is False
    assert told["first_difference"] == {"a": 6, "b": 6, "differences": {"tokens": ["640/31", "640/35"],
                                                                       "cost": ["$0.000115", "$0.000117"]}}  # fmt: skip
    assert told["first_other_path"]["a"] == 8
    assert told["totals"]["b"]["tool_calls_failed"] == 3


def test_diff_can_tell_by_its_exit_code(store: Path, run: Run) -> None:
    """As `git diff --exit-code`."""
    assert run("diff", "4f9a2c81", "77ab03de")[0] == 0
    assert run("diff", "4f9a2c81", "77ab03de", "--exit-code")[0] == 1
    assert run("diff", "4f9a2c81", "4f9a2c81", "--exit-code")[0] == 0


def test_export_is_a_document_a_line(store: Path, run: Run, tmp_path: Path) -> None:
    """Oldest first; filters as in `list`; a file appears when it is whole."""
    code, shown, errors = run("export")
    assert (code, errors) == (0, "")
    assert [json.loads(line)["run_id"] for line in shown.splitlines()] == [
        "4f9a2c81d0e34b7c",
        "abcdef0123456789",
        "77ab03de91f24a60",
    ]
    assert json.loads(shown.splitlines()[0]) == trip()
    output = tmp_path / "out.jsonl"
    code, shown, errors = run("export", "--finding", "loop", "--output", str(output))
    assert (code, shown) == (0, "")
    assert "1 run" in errors
    assert [json.loads(line)["run_id"] for line in output.read_text().splitlines()] == ["77ab03de91f24a60"]
    assert output.stat().st_mode & 0o777 == 0o600
    assert run("export", "--output", str(tmp_path / "no" / "where"))[0] == 1
    assert [one.name for one in tmp_path.glob("*.part")] == []


def test_export_shows_progress_on_a_terminal(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nowhere else."""
    moments = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _, shown, errors = run("export")
    assert len(shown.splitlines()) == 3
    assert "exported 2 of 3 (66%)" in errors
    assert errors.endswith("\r")


def test_verify_says_which_document_is_broken(store: Path, run: Run) -> None:
    """By the run it belongs to; exit code 1."""
    head = json.loads(run("verify", "--json")[1])["head"]["hash"]
    assert run("verify", "--head", head)[0] == 0
    assert run("verify", "--head", "ab" * 32)[0] == 1
    with sqlite3.connect(store / FILE_NAME) as connection:
        connection.execute('UPDATE entries SET body = replace(body, \'"status":"error"\', \'"status":"ok"\')')
    connection.close()
    code, shown, _ = run("verify")
    assert code == 1
    assert "entry 1 is not what was stored (run 4f9a2c81d0e34b7c)" in shown
    assert "entry 2 is not what was stored (run 77ab03de91f24a60)" in shown
    told = json.loads(run("verify", "--json")[1])
    assert told["ok"] is False
    assert [one["entry"] for one in told["problems"]] == [1, 2]


def test_verify_says_what_was_pruned(run: Run, tmp_path: Path) -> None:
    """So that a shorter history is no surprise."""
    store = RunStore(tmp_path, Retention(max_age_ns=10**9))
    store.open(START_NS)
    for n in range(3):
        store.add([run_record(document(f"run-{n}"))], START_NS + n * 10**9)
    store.prune(START_NS + 2 * 10**9)
    store.close()
    code, shown, _ = run("verify", "--store", str(tmp_path))
    assert code == 0
    assert "2 run documents" in shown
    assert "entries up to 1 were pruned" in shown


def test_damaged_file_is_said_to_be_damaged(store: Path, run: Run) -> None:
    """Without a traceback."""
    path = store / FILE_NAME
    path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 4096 * 20)
    for words in ("list", "verify", "export", "show latest"):
        code, shown, errors = run(*words.split())
        assert code in (1, 2)
        assert "damaged" in shown or "malformed" in errors or "cannot be read" in errors


def test_missing_store(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says where it looked and what to do; a wrong path is wrong usage."""
    code, shown, errors = run("list", "--store", str(tmp_path / "nowhere"))
    assert (code, shown) == (2, "")
    assert f"there is no run store at {tmp_path}/nowhere" in errors
    assert "--store" in errors
    (tmp_path / "a.txt").write_text("not a database, but long enough to be looked at " * 100)
    assert run("list", "--store", str(tmp_path / "a.txt"))[0] == 2
    (tmp_path / "empty").touch()
    assert "an older version" in run("list", "--store", str(tmp_path / "empty"))[2]


def test_store_of_another_user(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is for the sidecar's user only; whoever else asks is told so."""

    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    code, shown, errors = run("list")
    assert (code, shown) == (2, "")
    assert f"{store}/runs.sqlite3 cannot be read: Permission denied" in errors
    assert "be the user that the sidecar runs as" in errors


def test_export_says_which_file_cannot_be_written(
    store: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gets full on the way leaves nothing behind, and is told with the name of the file."""
    there_is_none = tmp_path / "none" / "x.jsonl"
    assert run("export", "--output", str(there_is_none))[2].startswith(
        f"spanledger runs: cannot write {there_is_none}: "
    )

    def full(_text: str) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("spanledger.service.commands.runs._line", full)
    output = tmp_path / "x.jsonl"
    code, _, errors = run("export", "--output", str(output))
    assert (code, errors) == (1, f"spanledger runs: cannot write {output}: No space left on device\n")
    assert not list(tmp_path.glob("x.jsonl*"))


def test_empty_store(run: Run, tmp_path: Path) -> None:
    """Is no error, but says that there is nothing."""
    store_of(tmp_path, []).close()
    path = ["--store", str(tmp_path)]
    assert run("list", *path) == (0, "", "no runs yet\n")
    assert run("list", *path, "--agent", "x")[2] == "no runs like that\n"
    assert json.loads(run("list", *path, "--json")[1]) == []
    assert run("export", *path) == (0, "", "")
    assert run("verify", *path)[0] == 0
    code, _, errors = run("show", *path, "latest")
    assert code == 1
    assert "no runs in" in errors


def test_wrong_usage(store: Path, run: Run) -> None:
    """Exit code 2 for what cannot be meant, 1 for what is not there."""
    for words in (
        "",
        "list --since yesterday",
        "list --outcome great",
        "step latest -1",
        "list --min-cost nan",
        "verify --head xyz",
        "dance",
    ):
        assert run(*words.split())[0] == 2, words
    for words in ("show nothere", "step latest 99", "show latest --revision 9", "list --text ..."):
        code, _, errors = run(*words.split())
        assert code == 1, words
        assert errors.startswith("spanledger runs: ")


def test_every_help_has_an_example(run: Run) -> None:
    """Of each action, and of the command."""
    for words in ((), ("list",), ("show",), ("step",), ("diff",), ("export",), ("verify",)):
        code, shown, _ = run(*words, "--help")
        assert code == 0
        assert f"  spanledger runs {' '.join(words)}" in shown.partition("examples:")[2]


@pytest.mark.parametrize("limit", ["x", "-1", "1.5", "٣x"])
def test_a_limit_that_is_none_is_told_with_one_that_is(run: Run, limit: str) -> None:
    """And not with the name of a function."""
    code, _, errors = run("list", f"--limit={limit}")
    assert code == 2
    assert f"argument --limit: {limit!r} is not a number such as 0, 1 or 20" in errors


def test_limit_says_what_is_left_out(store: Path, run: Run) -> None:
    """And 0 is all."""
    _, shown, errors = run("list", "--limit", "2")
    assert len([line for line in shown.splitlines() if "2026" in line]) == 2
    assert errors == "2 of 3 runs; --limit 0 shows all\n"
    assert run("list", "--limit", "0")[2] == ""


def test_revisions(run: Run, tmp_path: Path) -> None:
    """The newest is shown, an earlier one on demand."""
    store_of(tmp_path, [trip(), trip(revision=2, outcome="partial")]).close()
    path = ["--store", str(tmp_path)]
    assert "partial" in run("show", "latest", *path)[1]
    assert "revision 2" in run("show", "latest", *path)[1]
    assert "success" in run("show", "latest", "--revision", "1", *path)[1]
    assert len(run("export", *path)[1].splitlines()) == 1


# Hostile documents.

NASTY = "\x1b[2J\x1b]0;owned\x07 \r\n\x9b31m \u202egnp \x00\ud800 a\u0301 漢字 💥"


def nasty(run_id: str = "nasty-run") -> dict[str, Any]:
    """Return a document in which every text is hostile."""
    one = step(0, "agent", NASTY, 0, 1, None, agent_name=NASTY, error_type=NASTY, status="error", model=NASTY)
    two = step(
        1, "tool", NASTY, 0, 1, 0, agent_name=NASTY, tool_name=NASTY, input=NASTY * 5000, output=NASTY, provider=NASTY
    )
    return document(
        run_id,
        steps=[one, two],
        agent_name=NASTY,
        service_name=NASTY,
        session_id=NASTY,
        user_id=NASTY,
        trace_ids=[NASTY, NASTY],
        dimensions={NASTY: NASTY},
        agents=[
            {"name": NASTY, "llm_calls": 0, "tool_calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 1.0}
        ]
        * 2,
        tools=[
            {"name": NASTY, "llm_calls": 0, "tool_calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": None}
        ],
        findings=[{"kind": NASTY, "rule": NASTY, "severity": "critical", "steps": [1], "detail": {NASTY: [NASTY]}}],
        evaluations=[{"name": NASTY, "score": 0.5, "label": NASTY, "explanation": NASTY, "step": 1, "basis": "parent"}],
        failure_chain=[1, 0],
        failure_basis=[NASTY],
        handoffs=[{"from": NASTY, "to": NASTY, "step": 0, "kind": "handoff"}],
    )


@pytest.mark.parametrize("more", [(), ("--ascii",)], ids=["unicode", "ascii"])
def test_hostile_text_cannot_steer_the_terminal(run: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    """No escape, no line break, no direction mark gets through, and nothing is longer than it should be."""
    other = nasty("other-run")
    other["steps"][1]["output"] = "else"
    store_of(tmp_path, [nasty(), other]).close()
    for words in (
        "list",
        "show nasty",
        "step nasty 0",
        "step nasty 1",
        "step nasty 1 --full",
        "diff nasty other",
        "verify",
    ):
        code, shown, _ = run(*words.split(), "--store", str(tmp_path), *more)
        assert code == 0
        assert all(line.isprintable() for line in shown.splitlines()), words
        assert "owned" in shown or words == "verify"
        assert shown.isascii() or not more
        assert len(shown) < 20_000 or "--full" in words
    assert json.loads(run("show", "nasty", "--json", "--store", str(tmp_path))[1])["agent_name"] == NASTY


def test_document_of_another_shape_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    """It stays stored and is listed and exported; what cannot be shown says why."""
    shapes = [
        document("wrong-kind", steps=[{"kind": "dance"}]),
        document("wrong-type", steps="many"),
        document("too-long", duration_s=1e300),
        document("too-big", totals={**document()["totals"], "cost_usd": 1e200}),
        document("no-such-step", steps=[step(0, "tool", "t", 0, 1, None, read_by=7)]),
        document("overflow", duration_s=10**400),
    ]
    store = store_of(tmp_path, shapes)
    shapes.append(document("infinite"))
    store.add(read(request(("spanledger.run.closed", json.dumps(shapes[-1]).replace("1.5", "1e999")))).kept, START_NS)
    store.close()
    path = ["--store", str(tmp_path)]
    assert run("list", *path)[0] == 0
    assert len(run("export", *path)[1].splitlines()) == len(shapes)
    for one in shapes:
        for words in (("show", one["run_id"]), ("step", one["run_id"], "0"), ("diff", one["run_id"], one["run_id"])):
            code, _, errors = run(*words, *path)
            assert code == 1
            assert "the run cannot be shown: " in errors


def test_long_and_deep_runs_are_shown_in_time(run: Run, tmp_path: Path) -> None:
    """Five thousand steps side by side, and as a chain."""
    wide = [step(0, "agent", "a", 0, 5000, None)] + [step(n, "tool", f"t{n % 7}", n, 2) for n in range(1, 5000)]
    deep = [step(n, "agent", "a", n, 5000 - n, n - 1 if n else None, depth=n) for n in range(3000)]
    store_of(tmp_path, [document("wide", steps=wide), document("deep", steps=deep)]).close()
    path = ["--store", str(tmp_path)]
    started = time.process_time()
    assert len(run("show", "wide", *path)[1].splitlines()) > 5000
    assert len(run("show", "deep", *path)[1].splitlines()) > 3000
    assert run("step", "deep", "2999", *path)[0] == 0
    assert run("diff", "wide", "deep", *path)[0] == 0
    assert time.process_time() - started < 10


# The terminal.


class Screen(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def screen(monkeypatch: pytest.MonkeyPatch, encoding: str, **environ: str) -> io.BytesIO:
    """Make standard output a terminal; return what it got."""
    got = io.BytesIO()
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Screen(got, encoding=encoding, write_through=True))
    return got


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours_only_on_a_terminal_that_wants_them(
    store: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], coloured: bool
) -> None:
    """https://no-color.org: any value but an empty one."""
    got = screen(monkeypatch, "utf-8", **environ)
    assert main(["runs", "show", "latest"]) == 0
    assert (b"\x1b[31m" in got.getvalue()) is coloured


def test_encoding_without_the_signs_gets_ascii(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names it cannot write are escaped."""
    store_of(store, [document("latin", agent_name="Müller 漢", started_at="2026-11-21T08:00:00.000000000Z")]).close()
    for encoding, name in (("ascii", "M\\xfcller \\u6f22"), ("latin-1", "M\\xfcller \\u6f22"), ("utf-8", "Müller 漢")):
        got = screen(monkeypatch, encoding)
        assert main(["runs", "show", "latest"]) == 0
        assert name in got.getvalue().decode(encoding)


def test_start_of_a_relative_time(store: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages count from now."""
    monkeypatch.setattr(time, "time_ns", lambda: START_NS + 3600 * 10**9)
    assert len(json.loads(run("list", "--json", "--since", "45m")[1])) == 1
    assert len(json.loads(run("list", "--json", "--since", "2h", "--until", "40m")[1])) == 2


# -- sessions --


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store with three sessions: two runs of an hour ago and one of now, one cheap run, and one without."""
    hour = 3_600 * 10**9
    runs = [
        document("a" * 16, session_id="chat-1", agent_name="planner", started_at=timestamp(START_NS)),
        document(
            "b" * 16,
            session_id="chat-1",
            agent_name="booker",
            started_at=timestamp(START_NS + 2 * hour),
            outcome="failure",
        ),
        document("c" * 16, session_id="chat-2", agent_name="planner", started_at=timestamp(START_NS + hour)),
        document("d" * 16, session_id="talk", agent_name="planner", started_at=timestamp(START_NS - hour)),
        document("e" * 16, agent_name="loner"),
    ]  # fmt: skip
    store_of(tmp_path, runs).close()
    monkeypatch.setenv("SPANLEDGER_DATA_DIR", str(tmp_path))
    return tmp_path


def test_sessions_sum_up_their_runs(sessions: Path, run: Run) -> None:
    """Each run once, the session that went on last first; runs without a session are in none."""
    _, shown, _ = run("sessions", "--json")
    found = json.loads(shown)
    assert [(one["session_id"], one["runs"], one["agents"]) for one in found] == [
        ("chat-1", 2, ["booker", "planner"]),
        ("chat-2", 1, ["planner"]),
        ("talk", 1, ["planner"]),
    ]
    assert found[0]["outcomes"] == {"success": 1, "failure": 1, "partial": 0, "unknown": 0}
    assert found[0]["first_at"] == "2026-11-20T08:00:00.000000000Z"
    assert found[0]["last_at"].startswith("2026-11-20T10:00:0")


def test_a_filter_chooses_sessions_that_have_such_a_run(sessions: Path, run: Run) -> None:
    """And these are summed up whole."""
    for words, expected in {
        "--outcome failure": {"chat-1": 2},
        "--agent plan*": {"chat-1": 2, "chat-2": 1, "talk": 1},
        "--since 2026-11-20T08:30Z": {"chat-1": 2, "chat-2": 1},
        "--session talk": {"talk": 1},
        "--text booker": {"chat-1": 2},
        "--limit 1": {"chat-1": 2},
    }.items():
        _, shown, _ = run("sessions", "--json", *words.split())
        assert {one["session_id"]: one["runs"] for one in json.loads(shown)} == expected, words


def test_one_session_with_its_runs_in_order(sessions: Path, run: Run) -> None:
    """By its id, or the beginning of it; filters choose among its runs."""
    _, shown, _ = run("sessions", "chat-1", "--json")
    whole = json.loads(shown)
    assert whole["session"]["runs"] == 2
    assert [one["run_id"][0] for one in whole["runs"]] == ["a", "b"]
    _, shown, _ = run("sessions", "latest", "--json", "--outcome", "failure")
    assert [one["run_id"][0] for one in json.loads(shown)["runs"]] == ["b"]


def test_what_is_said_when_there_is_no_such_session(sessions: Path, run: Run) -> None:
    """What there is, and what to do."""
    assert "2 sessions are meant by 'chat': chat-1, chat-2; write more" in run("sessions", "chat")[2]
    code, _, error = run("sessions", "nobody")
    assert (code, "`spanledger runs sessions` shows" in error) == (1, True)
    assert run("sessions", "--agent", "nobody")[2] == "no sessions with runs like that\n"
    assert run("sessions", "--limit", "1")[2] == "1 of 3 sessions; --limit 0 shows all\n"


def test_a_store_without_sessions_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Not every application has conversations."""
    store_of(tmp_path, [document("e" * 16)]).close()
    monkeypatch.setenv("SPANLEDGER_DATA_DIR", str(tmp_path))
    assert run("sessions") == (0, "", "no sessions yet\n")
    assert "says which session it is part of" in run("sessions", "latest")[2]


def test_a_run_that_was_revised_counts_once_in_its_session(tmp_path: Path, run: Run) -> None:
    """With what its last revision says."""
    first = document("a" * 16, session_id="chat-1", outcome="unknown")
    second = {**first, "revision": 2, "outcome": "success"}
    store_of(tmp_path, [first, second]).close()
    _, shown, _ = run("sessions", "--json", "--store", str(tmp_path))
    assert [(one["runs"], one["outcomes"]["success"]) for one in json.loads(shown)] == [(1, 1)]


def test_a_cost_that_is_only_a_part_is_marked(tmp_path: Path, run: Run) -> None:
    """In the table of runs, at the step, in the heading, and as a field for programs."""
    half = call(1, 0.1, 1.0, 0, 0, 46, 0.12)
    half["usage"]["input_tokens"] = None
    told = document(steps=[step(0, "agent", "planner", 0, 1.5, None), half, call(2, 1.1, 0.2, 0, 10, 5, 0.5)])
    told["totals"] |= {"steps": 3, "llm_calls": 2, "output_tokens": 51, "cost_usd": 0.62, "unpriced_calls": 1}
    store_of(tmp_path, [told]).close()
    where = ("--store", str(tmp_path))

    listed, shown = run("list", *where)[1], run("show", "latest", *where)[1]

    assert "$0.620+?" in listed
    assert "+? calls not or only partly priced" in listed
    assert "$0.620 + 1 call not or only partly priced" in shown
    assert "$0.120+?" in shown
    assert "$0.500+?" not in shown
    assert "+? only a part has a price: it cost more" in shown
    assert json.loads(run("list", "--json", *where)[1])[0]["unpriced_calls"] == 1


def test_a_cost_that_was_told_is_whole_without_tokens(tmp_path: Path, run: Run) -> None:
    """What a provider bills does not follow from tokens: the run knows of no call without a price."""
    billed = call(1, 0.1, 1.0, 0, 0, 46, 0.12)
    billed["usage"]["input_tokens"] = None
    told = document(steps=[step(0, "agent", "planner", 0, 1.5, None), billed])
    told["totals"] |= {"steps": 2, "llm_calls": 1, "output_tokens": 46, "cost_usd": 0.12}
    store_of(tmp_path, [told]).close()

    shown = run("show", "latest", "--store", str(tmp_path))[1]

    assert "$0.120" in shown
    assert "+?" not in shown
