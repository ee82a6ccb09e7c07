"""`spanledger assets`: plain files where people want them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from spanledger.__main__ import main
from tests.deploy.test_rules import DEPLOY


def test_files_are_those_of_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is written is what is committed: rules, routing, runbooks and dashboards."""
    target = tmp_path / "new" / "folder"

    assert main(["assets", str(target)]) == 0

    written = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {"values.yaml", "prometheus/alerts.rules.yaml", "alertmanager/alertmanager.yaml"} <= written
    assert "runbooks/SidecarDown.md" in written
    assert all((target / path).read_text() == (DEPLOY / path).read_text() for path in written)
    assert "runbooks (" in capsys.readouterr().out


def test_values_of_ones_own(tmp_path: Path) -> None:
    """Rules have the numbers of the file, and the file is beside them."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("errors: {ratio: 0.125}\n")

    assert main(["assets", str(tmp_path / "out"), "--values", str(mine)]) == 0

    assert "ratio15m > 0.125" in (tmp_path / "out/prometheus/alerts.rules.yaml").read_text()
    assert (tmp_path / "out/values.yaml").read_text() == mine.read_text()


def test_alerts_lead_to_runbooks_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The address of one's own copy goes into every alert, and what leads where is said."""
    assert main(["assets", str(tmp_path), "--runbooks", "https://wiki.example.org/agents/"]) == 0

    rules = (tmp_path / "prometheus/alerts.rules.yaml").read_text()
    assert "runbook_url: https://wiki.example.org/agents/SidecarDown.md" in rules
    assert "alerts lead to https://wiki.example.org/agents" in capsys.readouterr().out
    assert main(["assets", str(tmp_path), "--runbooks", 'https://x"} {{ bad']) == 2


@pytest.mark.parametrize(
    "mine",
    [
        "errors: {ratio: 0.125}\n",
        "# ours\nlinks: {grafana: http://grafana.example.org}\n",
        "links:\n  runbooks: http://old.example.org # the old wiki\nerrors:\n  ratio: 0.125 # measured\n",
        "links: {}\n",
        "{}\n",
    ],
)
def test_the_address_of_runbooks_stays(tmp_path: Path, mine: str) -> None:
    """It is in the values that are written, with all else and its comments, and so in what is written with them."""
    values, out = tmp_path / "mine.yaml", tmp_path / "out"
    values.write_text(mine)
    assert main(["assets", str(out), "--values", str(values), "--runbooks", "https://wiki.example.org/a"]) == 0
    rules = (out / "prometheus/alerts.rules.yaml").read_text()

    assert main(["assets", str(out), "--values", str(out / "values.yaml")]) == 0

    assert (out / "prometheus/alerts.rules.yaml").read_text() == rules
    assert "runbook_url: https://wiki.example.org/a/SidecarDown.md" in rules
    kept = (out / "values.yaml").read_text()
    assert all(f"#{comment}" in kept for comment in (line.partition("#")[2] for line in mine.splitlines()) if comment)


@pytest.mark.parametrize("runbooks", ["not an address", "/runbooks", "ftp://wiki"])
def test_runbooks_that_no_link_can_lead_to_are_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runbooks: str
) -> None:
    """It would be noticed when an alert fires. What is blamed is what was given."""
    assert main(["assets", str(tmp_path / "out"), "--runbooks", runbooks]) == 2

    assert capsys.readouterr().err.startswith("spanledger assets: --runbooks: links.runbooks: ")
    assert not (tmp_path / "out").exists()


def test_values_that_are_wrong_are_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written, and the message names the file and the value."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("errors: {ration: 0.1}\n")

    assert main(["assets", str(tmp_path / "out"), "--values", str(mine)]) == 2
    assert not (tmp_path / "out").exists()
    assert f"{mine}: errors.ration: no such value" in capsys.readouterr().err
    assert main(["assets", str(tmp_path / "out"), "--values", str(tmp_path / "none.yaml")]) == 2


def test_a_place_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said in one line, with exit code 1."""
    (tmp_path / "file").write_text("")

    assert main(["assets", str(tmp_path / "file")]) == 1
    assert "cannot write to" in capsys.readouterr().err


def test_a_full_disk_leaves_the_files_that_were_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file of rules would keep Prometheus from starting. The file that had no room is named."""
    assert main(["assets", str(tmp_path)]) == 0
    before = {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}

    def full(path: Path, text: str) -> int:
        with path.open("w") as file:
            file.write(text[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["assets", str(tmp_path), "--runbooks", "https://wiki.example.org"]) == 1

    assert {path: path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()} == before
    assert f"cannot write to {tmp_path}/grafana/" in capsys.readouterr().err


def test_the_readme_counts_what_there_is() -> None:
    """Dashboards, alerts and backends."""
    readme = (DEPLOY.parent / "README.md").read_text()
    alerts = (DEPLOY / "prometheus" / "alerts.rules.yaml").read_text().count("- alert: ")

    assert f" {alerts} alerts with a runbook each" in readme
    assert len(list((DEPLOY / "grafana" / "dashboards").iterdir())) == 7
    assert "Seven dashboards" in readme
    assert len(list((DEPLOY / "backends").glob("*.yaml"))) == 15
    assert "For fifteen backends" in readme
