"""The sidecar as a process: what signals do to it, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import free_ports
from tests.sidecar import running

OWN_PORTS = (
    "receivers.otlp.protocols.grpc.endpoint",
    "receivers.otlp.protocols.http.endpoint",
    "exporters.prometheus.endpoint",
    "extensions.health_check.endpoint",
    "extensions.zpages.endpoint",
)


def own_ports() -> list[str]:
    """Return arguments that move every port of the default configuration to a free one."""
    arguments: list[str] = []
    for key, port in zip(OWN_PORTS, free_ports(len(OWN_PORTS)), strict=True):
        arguments += ["--set", f"{key}=127.0.0.1:{port}"]
    return arguments


def test_demo_shows_priced_calls_of_every_dialect_and_ends_by_itself(tmp_path: Path) -> None:
    """What `make demo ARGS=--once` does."""
    done = subprocess.run(
        [sys.executable, "-m", "spanledger", "demo", "--once", *own_ports()],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    for expected in (
        "support-desk  support",
        "code-review   reviewer",
        "trip-planner  planner",
        "unpriced",
        "Total $0.0",
    ):
        assert expected in done.stdout


def test_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    """The first thing that a stranger compares."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "spanledger", "demo", "--once", *own_ports()],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    table = done.stdout[: done.stdout.index("\n\nTotal")]

    assert table in readme


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_in_peace_when_it_is_told_to(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C is how people end it: no error, exit code 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "demo", *own_ports()],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C ends it" in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "ERROR" not in errors


def test_hangup_while_starting_is_survived(tmp_path: Path) -> None:
    """Its default would be death; the reload happens when the start is over."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "run", *own_ports()],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        process.send_signal(signal.SIGHUP)
        if "reloaded" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors


def test_a_reload_changes_the_log(tmp_path: Path) -> None:
    """Whoever asks for more in it does not want to restart what is in trouble."""
    config = tmp_path / "log.yaml"
    config.write_text("service: {telemetry: {logs: {encoding: console}}}")
    process = subprocess.Popen(
        [sys.executable, "-m", "spanledger", "run", "--config", "default:", "--config", str(config), *own_ports()],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "ready: " in line:
            break
    config.write_text("service: {telemetry: {logs: {encoding: json}}}")
    process.send_signal(signal.SIGHUP)
    for line in process.stderr:
        if "reloaded: " in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)

    assert errors.startswith('{"level": "info"')


def test_every_page_answers(tmp_path: Path) -> None:
    """With all the tasks and frames that a real sidecar has."""
    import urllib.request

    with running(tmp_path, {"debug": {}}) as sidecar:
        for path in ("servicez", "pipelinez", "tracez", "tasks"):
            with urllib.request.urlopen(f"http://{sidecar.zpages}/debug/{path}", timeout=10) as answer:
                assert answer.status == 200
                assert b"</html>" in answer.read()
