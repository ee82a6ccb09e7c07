"""What a model string says: which spellings to look up, which seller and region it names.

The rule is to undo what routers, clouds and SDKs put around a model's name, never to guess a model:
`claude-sonnet-4-9` is not priced like its neighbour.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from spanledger.conventions.prices.sellers import role_of

MAX_NAME = 512
"""Longer model names are not read: no seller has any."""

CLOUDS: Final = frozenset({"aws", "azure", "google"})
"""Sellers of other labs' models, whose ids may come with the lab's name in front."""

_ARN_KINDS: Final = frozenset({"foundation-model", "inference-profile"})
_PUBLISHERS: Final = re.compile(r"(?:.*/)?publishers/[^/]+/models/(?P<model>[^/]+)")
_LOCATION: Final = re.compile(r"(?:^|/)locations/(?P<region>[^/]+)/")
_OPAQUE_PATH: Final = re.compile(r"(?:^|/)(?:projects|endpoints|tunedmodels|deployments)/|^accounts/(?!fireworks/)|^#")
_AWS_HEADS: Final = re.compile(r"(?:converse|converse_like|invoke|[a-z]{2}(?:-gov)?-[a-z]+-\d)")
_AZURE_HEADS: Final = {"eu": "eu-datazone", "us": "us-datazone", "global": "", "global-standard": "", "responses": ""}
_ROUTING: Final = re.compile(r":(?:beta|thinking|nitro|floor|exacto|online|latest|default)$")
_CONTEXT: Final = re.compile(r"\[\d+[mk]\]$|:\d+k$")
_AT: Final = re.compile(r"@(\d{3}|\d{8}|default|latest)$")
_REVISION: Final = re.compile(r"(?<=[a-z])-00\d$")
"""Of a model of Vertex AI: `gemini-2.0-flash-001` is what `gemini-2.0-flash` stands for."""
_GEO: Final = re.compile(r"^(?P<area>us-gov|us|eu|apac|jp|au|in|ca|sa|me|af|regional|global)\.(?=[a-z0-9-]+\.)")
_DATE: Final = re.compile(r"[-@]20\d{2}(?:-\d{2}-\d{2}|[01]\d[0-3]\d)(?=$|:|-v\d)")
_COMPACT: Final = re.compile(r"(?<=[-@])(20\d{2})([01]\d)([0-3]\d)(?=$|:|-v\d)")
_DASHED: Final = re.compile(r"(?<=[-@])(20\d{2})-(\d{2})-(\d{2})(?=$|:|-v\d)")
_VERSION_DASH: Final = re.compile(r"(?<![\d.])(\d{1,2})-(\d)(?![\d.bk])")
_VERSION_DOT: Final = re.compile(r"(?<![\d.])(\d{1,2})\.(\d)(?![\d.])")
BEDROCK_ID: Final = re.compile(
    r"(?:[a-z-]{2,8}\.)?(?:amazon|anthropic|meta|mistral|cohere|ai21|deepseek|qwen|openai|nvidia|writer|stability|"
    r"moonshotai|minimax|zai|google|twelvelabs|luma)\.[a-z]"
)
"""How ids of Amazon Bedrock begin: a region, a lab, a model."""


@dataclass(frozen=True, slots=True)
class Name:
    """A model string, read."""

    forms: tuple[str, ...] = ()
    """Lower-case spellings to look up, the most faithful first; empty when the string names no model."""
    seller: str = ""
    """The seller that the string itself names: a prefix, an ARN, a resource path; "" for none."""
    region: str = ""
    """Where it says that the call goes: a location in a path, the area of an inference profile (`eu.`, `global.`)."""
    reason: str = ""
    """Why it names no model, where that can be told: `provisioned`."""


def read_model(text: str, seller: str = "", *, firm: bool = False) -> Name:
    """Read a model string for `seller` ("" when nobody said who sells).

    `firm` says that the seller is known for sure; otherwise a seller named in the string wins.
    """
    model = text.strip().strip("\"'`").strip().lower()
    if not model or len(model) > MAX_NAME:
        return Name()
    region = ""
    named = ""
    if model.startswith("arn:"):
        parts = model.split(":", 5)
        kind, _, model = parts[-1].partition("/")
        if len(parts) < 6 or kind not in _ARN_KINDS or not model:
            # an application profile or a custom model: only the operator knows what it is
            return Name(reason="provisioned" if kind == "provisioned-model" else "")
        seller = named = "aws"
        region = parts[3]
        firm = True
    if match := _LOCATION.search(model):
        region = match["region"]
    if match := _PUBLISHERS.fullmatch(model):
        model = match["model"]
        seller = seller if firm and seller else "google"
        named = "google"
    elif model.startswith("models/"):
        model = model.removeprefix("models/")
    elif _OPAQUE_PATH.search(model):
        return Name()
    forms = [model]
    while len(forms) < 6:
        head, mark, rest = _split(model)
        if not mark or not rest:
            break
        role, other = role_of(head)
        if role == "gateway":
            pass
        elif role == "seller" and not (firm and seller):
            seller = named = other
            firm = True
        elif role == "seller" and (other == seller or seller in CLOUDS):
            pass
        elif seller == "aws" and _AWS_HEADS.fullmatch(head):
            region = region or (head if head[-1].isdigit() else "")
        elif seller == "azure" and head in _AZURE_HEADS:
            region = region or _AZURE_HEADS[head]
        else:
            break
        model = rest.removeprefix("models/")
        if match := _PUBLISHERS.fullmatch(model):
            model = match["model"]
        if model.startswith("arn:"):
            return read_model(model, "aws", firm=True)
        forms.append(model)
    if not seller and BEDROCK_ID.match(model):
        seller = named = "aws"
    if seller == "aws" and (match := _GEO.match(model)):
        region = match["area"]
    return Name(_spellings(forms, seller), named, region)


def names_area(form: str) -> bool:
    """Tell whether a spelling is that of an inference profile of Bedrock, with its area in front: `eu.…`."""
    return _GEO.match(form) is not None


def _split(model: str) -> tuple[str, str, str]:
    """Cut off the first part before a slash, or before the colon of `provider:model`."""
    head, mark, rest = model.partition("/")
    if mark and ":" not in head:
        return head, mark, rest
    head, mark, rest = model.partition(":")
    if mark and role_of(head)[0] in ("seller", "gateway"):
        return head, mark, rest
    return model, "", ""


def _spellings(forms: list[str], seller: str) -> tuple[str, ...]:
    """List `forms` and what may be undone in them: cosmetics first, then regions, then dates."""
    found = dict.fromkeys(forms)

    def more(change: re.Pattern[str], by: str) -> None:
        for form in list(found):
            changed = change.sub(by, form)
            if changed and changed != form:
                found.setdefault(changed)

    more(_CONTEXT, "")
    more(_ROUTING, "")
    more(_AT, r"-\1")
    more(_COMPACT, r"\1-\2-\3")
    more(_DASHED, r"\1\2\3")
    if seller == "aws" and not forms[-1].startswith("global."):
        more(_GEO, "")  # the price of `global.` is another, so it is never undone
    if seller == "fireworks":
        for form in list(found):
            if "/" not in form:
                found.setdefault(f"accounts/fireworks/models/{form}")
                found.setdefault(f"accounts/fireworks/routers/{form}")
    if seller == "google":
        more(_REVISION, "")
    more(_VERSION_DASH, r"\1.\2")
    more(_VERSION_DOT, r"\1-\2")
    more(_DATE, "")
    more(re.compile(r"-(?:latest|default)$"), "")
    return tuple(found)


def family(model: str | None) -> str:
    """Return a name that the spellings of one model share, to tell whether two spans mean the same model.

    "" where nothing is known of the model.
    """
    return _family(model) if model and len(model) <= MAX_NAME else ""


@functools.lru_cache(4096)
def _family(model: str) -> str:
    name = read_model(model)
    if not name.forms:
        return model.strip().lower()
    last = _VERSION_DOT.sub(r"\1-\2", name.forms[-1]).rpartition("/")[2]
    return re.sub(r"^(?:[a-z-]{2,8}\.)?[a-z0-9]+\.(?=[a-z])|-v\d+(?::\d+)?$|[@:].*$", "", last)
