"""The generated registry, and that nothing is written which it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanledger.conventions import generate_semconv, semconv
from spanledger.conventions.dialect import MODEL_CALLS, OPERATIONS, PROMPT_VARIABLE
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.log_reports import LogReports
from spanledger.conventions.lookup import Lookup
from spanledger.conventions.profile import LATEST, PROFILES, Profile
from spanledger.conventions.reader import Reader
from spanledger.conventions.reading import Reading
from spanledger.processor.batch import decode, finish
from tests.corpus.captures import STACKS, packed
from tests.golden_spans import CASES, spans_of

REGISTRIES = Path(__file__).parents[2] / "shared" / "semconv"
NOT_OURS = {
    "server.address",
    "server.port",
    "user.id",
    "error.type",
    "jsonrpc.request.id",
    "azure.resource_provider.namespace",
    "deployment.environment.name",
}
CLOSED = ("gen_ai.operation.name", "gen_ai.output.type")
"""Of these, only known values are written."""
RELATIONS = {
    "gen_ai.usage.input_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"),
    "gen_ai.usage.output_tokens": ("gen_ai.usage.reasoning.output_tokens",),
}
"""A whole -> parts that do not overlap."""
PYTHON_TYPES = {"string": str, "int": int, "double": float, "bool": bool, "string[]": list}


@pytest.mark.skipif(not REGISTRIES.exists(), reason="the registries are not here")
def test_generated_file_is_up_to_date() -> None:
    """Generating it again gives the same file."""
    assert generate_semconv.generate(REGISTRIES) == Path(semconv.__file__).read_text()


def test_operations_are_those_of_the_registry() -> None:
    """Every well-known operation has a kind, and no other passes as one."""
    assert set(OPERATIONS) == set(semconv.MEMBERS["gen_ai.operation.name"])


@pytest.mark.parametrize(
    ("profile", "attribute", "name"),
    [
        ("latest", "gen_ai.provider.name", "gen_ai.provider.name"),
        ("1.41", "gen_ai.provider.name", "gen_ai.provider.name"),
        ("1.36", "gen_ai.provider.name", "gen_ai.system"),
        ("latest", "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_write.input_tokens"),
        ("1.41", "gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
        ("1.36", "gen_ai.usage.cache_write.input_tokens", None),
        ("1.36", "openai.response.service_tier", "gen_ai.openai.response.service_tier"),
        ("1.36", "gen_ai.input.messages", None),
        ("1.36", "server.address", "server.address"),
        ("latest", "gen_ai.no.such.thing", None),
    ],
)
def test_profiles_spell_names_as_their_time_did(profile: str, attribute: str, name: str | None) -> None:
    """An attribute is written under the name it had in that version, or not at all."""
    assert PROFILES[profile].name_of(attribute) == name


def test_every_target_of_a_dialect_exists() -> None:
    """A target is an attribute of the registry, one of the general ones we use, or a fact of our own."""
    for dialect in DIALECTS:
        targets = {*dialect.sources, *(t for by_kind in dialect.sources_by_kind.values() for t in by_kind)}
        targets |= {target for content in dialect.content.values() for target in content}
        unknown = {t for t in targets if t not in LATEST.types and t not in NOT_OURS and not t.startswith("@")}

        assert unknown == set()


def test_every_key_has_one_meaning_per_target() -> None:
    """No key is listed twice for a target: the second would never be read."""
    lookup = Lookup(DIALECTS, LATEST, {})
    for entry in lookup.entries.values():
        targets = [slot.target for slot in entry.slots]
        assert len(targets) == len(set(targets))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_of_the_registry(case: str, profile: str) -> None:
    """Every attribute written exists in the chosen version, has its type, and says what can be."""
    reader = Reader(DIALECTS, PROFILES[profile])
    for scope, version, span in spans_of(case):
        check(reader.read(scope, version, span), PROFILES[profile])


@pytest.mark.parametrize("stack", STACKS)
def test_so_it_is_in_recorded_traffic(stack: str) -> None:
    """The same of every span that a real instrumentation sent, and of every log record that reports work."""
    reader, reports = Reader(DIALECTS), LogReports(DIALECTS)
    for capture in packed(stack):
        for data in capture.requests("traces"):
            for group in finish(decode("traces", data, 0)).groups:
                for span in group.items:
                    check(reader.read(group.scope.name, group.scope.version, span), LATEST)
        for data in capture.requests("logs"):
            for group in finish(decode("logs", data, 0)).groups:
                for record in group.items:
                    spoken = reader.dialect_of(group.scope.name)
                    report = reports.read(record, group.scope.name, spoken, group.resource.service_name)
                    if report is not None:
                        check(reader.read(report.scope, "", report.span), LATEST)


def check(reading: Reading | None, profile: Profile) -> None:
    """Content may be written as JSON text; all else has the declared type. Parts are not more than the whole."""
    if reading is None:
        return
    for name, value in reading.edits.items():
        if name.startswith("spanledger.") or name in NOT_OURS:
            continue
        assert type(value) is type_of(name, profile), name
        if name in CLOSED:
            assert value in semconv.MEMBERS[name], name
    for whole, parts in RELATIONS.items():
        total = reading.says(profile.name_of(whole) or "")
        told = [reading.says(profile.name_of(part) or "") for part in parts]
        if reading.usage is not None and reading.kind in MODEL_CALLS and type(total) is int and not reading.aggregate:
            assert sum(count for count in told if type(count) is int) <= total, (whole, told, reading.usage)


def type_of(name: str, profile: Profile) -> type:
    """Return what values of an attribute have to be."""
    declared = "string" if name.startswith(PROMPT_VARIABLE) else profile.types[name]
    return str if declared == "any" else PYTHON_TYPES[declared]
