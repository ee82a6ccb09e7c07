"""`spanledger assets`: plain files where people want them."""

from __future__ import annotations

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


def test_the_readme_counts_what_there_is() -> None:
    """Dashboards, alerts and backends."""
    readme = (DEPLOY.parent / "README.md").read_text()
    alerts = (DEPLOY / "prometheus" / "alerts.rules.yaml").read_text().count("- alert: ")

    assert f" {alerts} alerts with a runbook each" in readme
    assert len(list((DEPLOY / "grafana" / "dashboards").iterdir())) == 7
    assert "Seven dashboards" in readme
    assert len(list((DEPLOY / "backends").glob("*.yaml"))) == 15
    assert "For fifteen backends" in readme
