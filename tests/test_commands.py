"""The command line: finding commands, exit codes, and the commands that only look at a configuration."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from spanledger import __version__
from spanledger.__main__ import discover, main
from spanledger.processor.component import KINDS, REGISTRY
from spanledger.service import commands
from spanledger.service.config import load, packaged_config
from spanledger.service.documentation import example, render

ROOT = Path(__file__).parent.parent
VALID = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def command_in(folder: Path, name: str, body: str) -> None:
    """Write a command whose `run` has this body."""
    (folder / f"{name}.py").write_text(
        f'NAME, HELP, EXAMPLES = "{name}", "do {name}", "  spanledger {name}"\n'
        f"def add_arguments(parser): parser.add_argument('--code', type=int, default=0)\n"
        f"def run(args):\n{textwrap.indent(body, '    ')}\n"
    )


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules are commands too."""
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    return tmp_path


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the path of a small valid configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(VALID)
    return str(path)


# --- the command line -----------------------------------------------------------------------------


def test_module_in_the_folder_is_a_command(dropped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else needs to know of it; its exit code is the process's."""
    command_in(dropped, "dropped_in", "print('ran')\nreturn args.code")
    assert main(["dropped_in", "--code", "1"]) == 1
    assert capsys.readouterr().out == "ran\n"


ACTIONS = (
    "runs list", "runs sessions", "runs show", "runs step", "runs diff", "runs export", "runs verify",
    "prices unpriced", "prices check", "prices sources", "dlq list", "dlq export", "dlq replay", "dlq discard",
)  # fmt: skip


@pytest.mark.parametrize("name", [*(command.NAME for command in discover()), *ACTIONS])
def test_help_of_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example is one of this command."""
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  spanledger {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["nonesuch"], ["validate", "--nonesuch"], ["validate", "--config"], ["components", "x"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The reason goes to standard error."""
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert "usage: spanledger" in captured.err


@pytest.mark.parametrize(
    ("arguments", "usage", "error"),
    [
        (["run", "--confg", "x.yaml"], "spanledger run", "--confg x.yaml (did you mean --config?)"),
        (["validate", "x.yaml"], "spanledger validate", "x.yaml (did you mean --config x.yaml?)"),
        (["runs", "show", "a", "b"], "spanledger runs show", "arguments: b\n"),
        (["runs", "list", "--limt=3"], "spanledger runs list", "--limt=3 (did you mean --limit?)"),
    ],
)
def test_wrong_usage_of_a_command_shows_how_that_is_used(
    arguments: list[str], usage: str, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not how some other one is."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"usage: {usage} [-h]")
    assert error in said


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program, as other programs do."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"spanledger {__version__}\n")


def test_help_imports_nothing_heavy() -> None:
    """It is asked for often and should be there at once."""
    program = (
        "import sys\nfrom spanledger.__main__ import parser\nparser().format_help()\n"
        "print(*{'grpc', 'aiohttp', 'pydantic', 'yaml', 'google.protobuf', 'opentelemetry.sdk'} & set(sys.modules))"
    )
    assert python("-c", program).stdout == "\n"


def test_interrupted_command_ends_quietly(dropped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C shows no traceback and leaves with the code of SIGINT."""
    command_in(dropped, "slow", "raise KeyboardInterrupt")
    assert main(["slow"]) == 130
    assert capsys.readouterr() == ("", "")


def test_closed_pipe_ends_quietly() -> None:
    """`spanledger components | head -1` shows one line and no traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "spanledger", "components"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("words", ["components", "price gpt-4o --input 5"])
def test_full_disk_behind_standard_output_is_told(words: str) -> None:
    """In one line that says what could not be written."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "spanledger", *words.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        b"spanledger: cannot write to standard output: No space left on device\n",
    )


def test_closed_standard_output_is_none_of_our_business() -> None:
    """What `>&-` closed stays closed, and the next file that is opened does not get its number."""
    shell = f"{shlex.quote(sys.executable)} -m spanledger components >&-"
    done = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_module_and_script_are_the_same_program() -> None:
    """`python -m spanledger` works where the script is not on the path."""
    assert python("-m", "spanledger", "--version").stdout == f"spanledger {__version__}\n"


# --- validate -------------------------------------------------------------------------------------


def test_validate_accepts_a_valid_configuration(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which pipelines there are; warnings go to standard error."""
    unused = "yaml:exporters: {debug/unused: }"
    assert main(["validate", "--config", config, "--config", unused]) == 0
    captured = capsys.readouterr()
    assert captured.out == "valid: traces\n"
    assert captured.err == "warning: yaml:1:13: exporters::debug/unused: configured but not used in any pipeline\n"


def test_validate_reports_every_error_and_ends_with_2(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, each with its place."""
    bad = ["--set", "exporters.debug.verbosty=1", "--set", "service.pipelines.traces.exporters=[debug, x]"]
    assert main(["validate", "--config", config, *bad]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "spanledger: invalid configuration, 2 errors:\n"
        '  --set exporters.debug.verbosty: exporters::debug: error reading configuration for "debug": '
        "has invalid keys: verbosty (did you mean verbosity?)\n"
        "  --set service.pipelines.traces.exporters: service::pipelines::traces: "
        'references exporter "x" which is not configured\n'
    )


def test_default_configuration_is_valid_without_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what runs when nothing is configured."""
    assert main(["validate"]) == 0
    assert capsys.readouterr() == ("valid: traces, logs/runs, metrics/genai, logs, metrics\n", "")


# --- components -----------------------------------------------------------------------------------


def test_components_lists_every_registered_type(capsys: pytest.CaptureFixture[str]) -> None:
    """The form is the Collector's; JSON and YAML say the same."""
    assert main(["components"]) == 0
    as_yaml = yaml.safe_load(capsys.readouterr().out)
    assert main(["components", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_yaml
    assert as_yaml["buildinfo"] == {
        "command": "spanledger",
        "description": "OpenTelemetry sidecar for AI agents",
        "version": __version__,
    }
    for kind in KINDS:
        assert [entry["name"] for entry in as_yaml[f"{kind}s"]] == list(REGISTRY.of(kind))
    assert as_yaml["providers"] == [{"scheme": name} for name in ("env", "file", "preset", "yaml")]
    (connector,) = (entry for entry in as_yaml["connectors"] if entry["name"] == "genai_metrics")
    assert list(connector["stability"]) == ["traces-to-metrics", "logs-to-metrics"]


# --- print-config ---------------------------------------------------------------------------------


def test_print_config_shows_defaults_and_no_secrets(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged, expanded, with defaults, masked."""
    monkeypatch.setenv("SECRET", "hunter2")
    otlp = (
        "yaml:exporters: {otlp/x: {endpoint: 'http://u:hunter2@x:1', headers: {authorization: 'Bearer ${env:SECRET}'}}}"
    )
    assert main(["print-config", "--config", config, "--config", otlp]) == 0
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    shown = yaml.safe_load(captured.out)
    assert shown["exporters"]["otlp/x"]["headers"] == {"authorization": "[REDACTED]"}
    assert shown["exporters"]["otlp/x"]["endpoint"] == "http://[REDACTED]@x:1"
    assert shown["exporters"]["otlp/x"]["timeout"] == "5s"
    assert shown["service"]["telemetry"] == {"logs": {"level": "info", "encoding": "console"}}


def test_printed_configuration_is_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed loads as what was printed, in YAML and in JSON."""
    original = load([], [], {}, REGISTRY.discover())
    for arguments in ([], ["--format", "json"]):
        assert main(["print-config", *arguments]) == 0
        printed = load([f"yaml:{capsys.readouterr().out}"], [], {})
        assert printed.as_dict() == original.as_dict()
        assert printed.service == original.service


def test_print_config_prints_nothing_of_an_invalid_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a configuration would be taken for a whole one."""
    assert main(["print-config", "--config", "yaml:receivers: {}"]) == 2
    assert capsys.readouterr().out == ""


# --- documentation --------------------------------------------------------------------------------


def default_config() -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load(Path(packaged_config()).read_text())
    return loaded


def test_reference_is_up_to_date() -> None:
    """`python -m spanledger.service.documentation > docs/configuration.md` writes it."""
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == render(REGISTRY.discover(), default_config())


@pytest.mark.parametrize("kind", KINDS)
def test_example_of_every_component_is_valid(kind: str) -> None:
    """A reader copies them."""
    for type_name, registration in REGISTRY.discover().of(kind).items():  # type: ignore[arg-type]
        text = example(registration, default_config())
        block = yaml.safe_load(text)[f"{kind}s"][type_name]
        registration.config.model_validate_json(json.dumps(block or {}))


def test_every_top_level_key_has_a_meaning() -> None:
    """The docstring below a field is its documentation, and there is no other."""
    rows = [line for line in render(REGISTRY.discover(), {}).splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |") and "::" not in row.split("|")[1]] == []
