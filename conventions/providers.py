"""Who served a model call: every known spelling of a provider, and what hosts and models give away.

Well-known values are those of `gen_ai.provider.name`; it is an open enumeration, so any other provider
keeps its own name in lower case.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

MAX_CHARS: Final = 128
"""A longer value names no provider."""

FRAMEWORKS: Final = frozenset({
    "adk", "ag2", "agent_framework", "agno", "autogen", "crewai", "dspy", "gcp.vertex.agent", "google_adk",
    "haystack", "langchain", "langgraph", "llama_index", "llamaindex", "mastra", "mcp", "microsoft.agent_framework",
    "openai-agents", "openai_agents", "pydantic-ai", "pydantic_ai", "semantic_kernel", "smolagents",
    "strands-agents",
})  # fmt: skip
"""Not providers: what instrumentations of frameworks write where they do not know the provider."""

_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "anthropic": ("claude", "firstparty"),
    "aws.bedrock": (
        "aws", "bedrock", "amazon-bedrock", "amazon_bedrock", "bedrock_converse", "bedrock_converse_model",
        "aws_bedrock", "amazon",
    ),
    "azure.ai.inference": ("az.ai.inference", "azure_ai", "azure_ai_inference", "azure"),
    "azure.ai.openai": ("az.ai.openai", "azure_openai", "azure-openai", "azureopenai", "azure.openai"),
    "cohere": ("cohere_chat",),
    "deepseek": (),
    "gcp.gemini": ("gemini", "google.generative-ai", "google_genai", "google-gla", "google_ai_studio"),
    "gcp.gen_ai": ("google_generativeai", "google", "googlegenai"),
    "gcp.vertex_ai": (
        "vertex_ai", "vertexai", "google-vertex", "google.vertex", "google_vertexai", "vertex_ai_beta", "vertex",
    ),
    "groq": (),
    "ibm.watsonx.ai": ("watsonx", "watsonx.ai", "ibm"),
    "mistral_ai": ("mistral", "mistralai", "mistral-ai"),
    "moonshot_ai": ("moonshot", "moonshotai", "kimi"),
    "openai": ("oai", "openai_text"),
    "perplexity": ("pplx",),
    "x_ai": ("xai", "x-ai", "grok"),
}  # fmt: skip

_CANONICAL: Final[dict[str, str]] = {
    **{alias: name for name, aliases in _ALIASES.items() for alias in aliases},
    **{name: name for name in _ALIASES},
}

_HOSTS: Final[tuple[tuple[str, str], ...]] = (
    (".openai.azure.com", "azure.ai.openai"),
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.x.ai", "x_ai"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.moonshot.cn", "moonshot_ai"),
)

# Families that only their maker serves under a bare name. Models with open weights say nothing about
# who serves them.
_MODELS: Final[tuple[tuple[str, str], ...]] = (
    ("gpt-oss", ""),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "gcp.gen_ai"),
)


@lru_cache(1024)
def provider_of(value: str) -> str | None:
    """Return the provider that `value` names; None for frameworks and for what names nothing."""
    name = value.strip().lower()
    if not name or len(name) > MAX_CHARS or name in FRAMEWORKS:
        return None
    if name in _CANONICAL:
        return _CANONICAL[name]
    for separator in (".", "-", "/"):
        head, found, _ = name.partition(separator)
        if found and (longer := _longest_alias(name, separator)):
            return longer
        if found and head in _CANONICAL:
            return _CANONICAL[head]
    return name


def _longest_alias(name: str, separator: str) -> str | None:
    """`google.vertex.chat` is Vertex AI, though `google` alone is not."""
    while separator in name:
        name = name.rpartition(separator)[0]
        if name in _CANONICAL:
            return _CANONICAL[name]
    return None


@lru_cache(1024)
def provider_at(address: str) -> str | None:
    """Return who answers at a server address; None for hosts that are nobody's public API."""
    if len(address) > MAX_CHARS * 2:
        return None
    address = address.lower()
    if address.startswith("bedrock-runtime") and address.endswith(".amazonaws.com"):
        return "aws.bedrock"
    return next((name for host, name in _HOSTS if address.endswith(host)), None)


@lru_cache(1024)
def provider_of_model(model: str) -> str | None:
    """Return the only provider of a model family; None for models that several serve."""
    if len(model) > MAX_CHARS * 2:
        return None
    model = model.lower()
    return next((name or None for family, name in _MODELS if model.startswith(family)), None)


def provider_of_pair(serves: str | None, speaks: str | None) -> str | None:
    """Return the provider out of who serves (`llm.provider`) and whose API it is (`llm.system`)."""
    if serves is None:
        return provider_of(speaks) if speaks else None
    served = serves.strip().lower()
    spoken = (speaks or "").strip().lower()
    if served == "azure":
        return "azure.ai.openai" if spoken == "openai" else "azure.ai.inference"
    if served == "google":
        return "gcp.vertex_ai" if spoken == "vertexai" else "gcp.gen_ai"
    return provider_of(serves)
