"""Which version of the OTel GenAI conventions the sidecar writes: the names, their types, some values.

Spans are always *read* in every version. Inside the sidecar an attribute goes by its current name; a
profile says how that name is spelled, if at all, in the version that the backend understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from spanledger.conventions import semconv

ProfileName = Literal["latest", "1.41", "1.36"]

_NAMESPACES: Final = ("gen_ai.", "mcp.", "openai.", "aws.bedrock.")

# Values of well-known enumerations that had another spelling: attribute -> current value -> then.
_FORMER_VALUES: Final[dict[str, dict[str, dict[str, str]]]] = {"1.36": {"gen_ai.system": {"x_ai": "xai"}}}


@dataclass(frozen=True, slots=True)
class Profile:
    """One version of the conventions, as a target."""

    name: ProfileName
    schema_url: str
    names: Mapping[str, str | None]
    """Current name -> name in this version; None where this version has no such attribute."""
    types: Mapping[str, str]
    """Name in this version -> `string`, `int`, `double`, `bool`, `string[]`, `any` or `template[string]`."""
    values: Mapping[str, Mapping[str, str]]
    """Name in this version -> current value -> value in this version."""

    def name_of(self, attribute: str) -> str | None:
        """Return how this version spells a current attribute name, None if it cannot.

        Names outside the GenAI conventions (`server.address`, `spanledger.*`) are the same in all.
        """
        template = attribute.rpartition(".")[0]
        if self.types.get(template, "").startswith("template"):
            return attribute
        return self.names.get(attribute, None if attribute.startswith(_NAMESPACES) else attribute)


def _profile(name: ProfileName) -> Profile:
    types = {attribute: by_profile[name] for attribute, by_profile in semconv.TYPES.items() if name in by_profile}
    current = [attribute for attribute, by_profile in semconv.TYPES.items() if "latest" in by_profile]
    former = {new: old for old, new in semconv.RENAMED.items() if old in types}
    names = {attribute: attribute if attribute in types else former.get(attribute) for attribute in current}
    return Profile(name, semconv.SCHEMA_URLS[name], names, types, _FORMER_VALUES.get(name, {}))


PROFILES: Final[Mapping[str, Profile]] = {name: _profile(name) for name in ("latest", "1.41", "1.36")}
LATEST: Final = PROFILES["latest"]
