"""A real process that is killed in the middle of a run."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

from spanledger.processor.trajectory.journal_file import FILE
from tests.fakes import request, span
from tests.sidecar import Sidecar


def chat(number: int) -> object:
    """Return a model call of the agent."""
    return span(
        number, 1, name="chat", gen_ai__operation__name="chat", gen_ai__provider__name="openai",
        gen_ai__request__model="gpt-4o", gen_ai__usage__input_tokens=100, gen_ai__usage__output_tokens=10,
    )  # fmt: skip


def send(address: str, *spans: object) -> None:
    """Send spans over HTTP."""
    body = request(*spans, scope="opentelemetry.instrumentation.openai").SerializeToString()  # type: ignore[arg-type]
    headers = {"content-type": "application/x-protobuf"}
    with urllib.request.urlopen(urllib.request.Request(f"http://{address}/v1/traces", body, headers)) as answer:
        assert answer.status == 200


def written(path: Path) -> int:
    """Return the records that are on disk."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        try:
            return int(journal.execute("SELECT count(*) FROM record").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0


def test_a_killed_sidecar_resumes_a_run_and_tells_it_once(tmp_path: Path) -> None:
    """SIGKILL between two requests of one run: one document, with the steps of both."""
    sidecar = Sidecar(tmp_path)
    config = sidecar.config({"run_store": {"directory": str(tmp_path / "runs")}})
    config["connectors"]["trajectory"] = {"settle": "200ms", "storage": str(tmp_path / "state")}
    pipelines = config["service"]["pipelines"]
    pipelines["traces"]["exporters"] = ["genai_metrics", "trajectory"]
    pipelines["logs"]["receivers"] = ["trajectory"]
    del pipelines["metrics"]
    try:
        sidecar.start(config)
        state = tmp_path / "state" / FILE
        send(sidecar.http, chat(2), chat(3))
        sidecar.process.wait_until(lambda: written(state) == 2)
        sidecar.process.kill()
        sidecar.start(config)
        root = span(1, name="agent", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="planner")
        send(sidecar.http, chat(4), root)
        sidecar.process.wait_until(lambda: sidecar.total("spanledger_runs_total", completeness="complete"))
        assert sidecar.process.stop() == 0
    finally:
        sidecar.process.kill()

    exported = subprocess.run(
        [sys.executable, "-m", "spanledger", "runs", "export", "--store", str(tmp_path / "runs")],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    (document,) = map(json.loads, exported.splitlines())
    assert (document["completeness"], document["revision"]) == ("complete", 1)
    assert [step["span_id"][-1] for step in document["steps"]] == ["1", "2", "3", "4"]
    assert document["totals"]["llm_calls"] == 3
