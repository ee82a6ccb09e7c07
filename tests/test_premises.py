"""Files, directories and ports that a configuration needs and a machine does not have, told all at once."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spanledger.__main__ import main
from spanledger.processor.metric_store import MetricTable
from spanledger.service.config import Config, load
from spanledger.service.graph import CannotStart
from spanledger.service.sidecar import Sidecar

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{0}"}}
      http: {{endpoint: "127.0.0.1:{1}", tls: {{cert_file: {folder}/no.crt, key_file: {folder}/no.key}}}}
processors: {{genai_normalizer: , genai_pricing: {{overrides: [{folder}/prices.yaml]}}}}
exporters:
  prometheus: {{endpoint: "127.0.0.1:{2}"}}
  run_store: {{directory: {folder}/{directory}}}
service:
  pipelines:
    traces: {{receivers: [otlp], processors: [genai_normalizer, genai_pricing], exporters: [genai_metrics]}}
    logs: {{receivers: [otlp], exporters: [run_store]}}
    metrics: {{receivers: [genai_metrics], exporters: [prometheus]}}
connectors: {{genai_metrics: }}
"""

RUNS = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{grpc}"}}}}}}}}
processors: {{genai_normalizer: }}
exporters: {{run_store: {{directory: {folder}/runs}}}}
service:
  pipelines:
    traces: {{receivers: [otlp], processors: [genai_normalizer], exporters: [trajectory]}}
    logs: {{receivers: [trajectory], exporters: [run_store]}}
connectors: {{trajectory: {{settle: {settle}}}}}
"""


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Ports that somebody has."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        yield [one.getsockname()[1] for one in taken]


@pytest.fixture
def config(ports: list[int], tmp_path: Path) -> str:
    """Return a configuration of which this machine has nothing."""
    (tmp_path / "a-file").write_text("in the way")
    return CONFIG.format(*ports, folder=tmp_path, directory="a-file")


async def test_a_failed_start_names_every_port_and_file_by_its_whole_key(config: str, ports: list[int]) -> None:
    """One try for each of them would be a nuisance; each is told once."""
    with pytest.raises(CannotStart) as caught:
        await Sidecar(load([f"yaml:{config}"], [], {}), MetricTable()).start()

    said = str(caught.value)
    for key in (
        "receivers::otlp::protocols::grpc::endpoint", "receivers::otlp::protocols::http::endpoint",
        "receivers::otlp::protocols::http::tls::cert_file", "receivers::otlp::protocols::http::tls::key_file",
        "processors::genai_pricing::overrides::0", "exporters::prometheus::endpoint",
    ):  # fmt: skip
        assert said.count(key) == 1, key
    assert all(said.count(f"127.0.0.1:{port}: address already in use") == 1 for port in ports)
    assert "a-file is a file" in said


async def test_a_reload_for_which_a_port_is_taken_changes_nothing(tmp_path: Path, ports: list[int]) -> None:
    """Open runs would have ended for it. A port that the sidecar has itself is free by then."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own = probe.getsockname()[1]

    def configured(grpc: str, settle: str) -> Config:
        return load([f"yaml:{RUNS.format(grpc=grpc, settle=settle, folder=tmp_path)}"], [], {})

    sidecar = Sidecar(configured(f"127.0.0.1:{own}", "2s"), MetricTable())
    await sidecar.start()
    try:
        before = dict(sidecar._graph.nodes)
        with pytest.raises(CannotStart, match=f"127.0.0.1:{ports[0]}: address already in use"):
            await sidecar.reload(configured(f"127.0.0.1:{ports[0]}", "3s"))

        assert sidecar._graph.nodes == before
        assert {status for status, _, _ in sidecar.statuses().values()} == {"ok"}

        await sidecar.reload(configured(f"localhost:{own}", "3s"))
        assert sidecar.ready()
    finally:
        assert await sidecar.stop() == 0


def test_validate_warns_of_what_is_not_on_this_machine(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sidecar may run on another one. Ports are not looked at: it may run here already."""
    file = tmp_path / "config.yaml"
    file.write_text(config.replace("a-file", "new"))
    assert main(["validate", "--config", str(file)]) == 0

    said = capsys.readouterr().err
    assert said.count("warning: ") == said.count("\n") == 3
    for line, key in (
        (6, "receivers::otlp::protocols::http::tls::cert_file"), (6, "receivers::otlp::protocols::http::tls::key_file"),
        (7, "processors::genai_pricing::overrides::0"),
    ):  # fmt: skip
        assert re.search(rf"warning: {file}:{line}:\d+: {key}: cannot read", said)


@pytest.mark.parametrize(
    ("folder", "cert_file", "key"),
    [("a-file", "no.crt", "exporters::run_store::directory"), ("new", "", "receivers::otlp::protocols::http::tls")],
)
def test_validate_refuses_files_and_directories_in_the_place_of_each_other(
    ports: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, cert_file: str, key: str
) -> None:
    """A start would refuse them on every machine; what is not there is still a warning."""
    (tmp_path / "a-file").write_text("in the way")
    file = tmp_path / "config.yaml"
    config = CONFIG.format(*ports, folder=tmp_path, directory=folder)
    file.write_text(config.replace(f"{tmp_path}/no.crt", str(tmp_path / cert_file)))
    assert main(["validate", "--config", str(file)]) == 2

    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith(f"spanledger: invalid configuration, 1 error:\n  {file}:")
    assert key in said.splitlines()[1]
    assert f"  warning: {file}:7:" in said


def test_validate_finds_prices_that_a_start_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file that is there, with its line; the machine that it runs on has the same one, or another fault."""
    overrides, catalog = tmp_path / "own.yaml", tmp_path / "data.json"
    overrides.write_text("version: 1\nprices:\n- {provider: acme, model: m, input: two, outpt: 3}\n")
    catalog.write_text("{}")
    pricing = f"{{overrides: [{overrides}, {tmp_path}/none.yaml], catalog: {{file: {catalog}}}}}"
    source = f"yaml:{CONFIG.format(0, 0, 0, folder=tmp_path, directory='new')}"

    assert main(["validate", "--config", source, "--set", f"processors::genai_pricing={pricing}"]) == 2

    out, said = capsys.readouterr()
    assert f"{overrides}:3: prices::0::input: 'two' is not a number" in said
    assert f"{overrides}:3: prices::0::outpt: unknown key; did you mean output?" in said
    assert f"\n  {catalog}: not the data of genai-prices" in said
    assert "overrides::1: cannot read" in said
    assert "valid" not in out


def test_validate_says_nothing_where_all_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Directories are made when they are needed, unless the configuration says otherwise."""
    text = """
      receivers: {{otlp: {{protocols: {{grpc: }}}}}}
      exporters: {{file: {{path: {0}/new/spans.json, create_directory: {1}}}}}
      service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}}}
    """
    assert main(["validate", "--config", f"yaml:{text.format(tmp_path, 'true')}"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["validate", "--config", f"yaml:{text.format(tmp_path, 'false')}"]) == 0
    assert "create_directory is off" in capsys.readouterr().err


def test_names_that_no_file_can_have_are_told_like_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too long for the file system, or below a file; a directory that nobody may look into is asked in the same way."""
    (tmp_path / "a-file").write_text("in the way")
    text = """
      receivers: {{otlp: {{protocols: {{grpc: {{tls: {{cert_file: {0}, key_file: {1}}}}}}}}}}}
      exporters: {{run_store: {{directory: {0}}}}}
      service: {{pipelines: {{logs: {{receivers: [otlp], exporters: [run_store]}}}}}}
    """
    too_long, below = f"{tmp_path}/{'x' * 300}", f"{tmp_path}/a-file/key"
    assert main(["validate", "--config", f"yaml:{text.format(too_long, below)}"]) == 2

    said = capsys.readouterr().err
    assert "File name too long" in said
    assert "Not a directory" in said
