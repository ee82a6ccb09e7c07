"""The generated registry, and that nothing is written which it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanledger.conventions import generate_semconv, semconv
from spanledger.conventions.dialect import OPERATIONS
from spanledger.conventions.dialects import DIALECTS
from spanledger.conventions.lookup import Lookup
from spanledger.conventions.profile import LATEST, PROFILES
from spanledger.conventions.reader import Reader
from spanledger.conventions.values import Value
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
    """Every attribute written exists in the chosen version and has its type."""
    reader = Reader(DIALECTS, PROFILES[profile])
    for scope, version, span in spans_of(case):
        reading = reader.read(scope, version, span)
        for name, value in (reading.edits if reading else {}).items():
            if not name.startswith("spanledger.") and name not in NOT_OURS:
                check(PROFILES[profile].types[name], value)


def check(declared: str, value: Value) -> None:
    """Content may be written as JSON text; all else has the declared type."""
    expected = str if declared == "any" else PYTHON_TYPES[declared]
    assert type(value) is expected
