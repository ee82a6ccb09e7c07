"""Who served a model call: every known spelling of a provider, and what hosts and models give away.

Well-known values are those of `gen_ai.provider.name`; it is an open enumeration, so any other provider
keeps its own name in lower case.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from spanledger.conventions.prices.resolve import BEDROCK_ID

MAX_CHARS: Final = 128
"""A longer value names no provider."""

FRAMEWORKS: Final = frozenset({
    "adk", "ag2", "agent_framework", "agno", "autogen", "crewai", "dspy", "gcp.vertex.agent", "google_adk",
    "haystack", "koog", "langchain", "langgraph", "llama_index", "llamaindex", "mastra", "mcp",
    "microsoft.agent_framework",
    "openai-agents", "openai_agents", "other", "pydantic-ai", "pydantic_ai", "semantic_kernel", "smolagents",
    "strands-agents", "unknown",
})  # fmt: skip
"""Not providers: what instrumentations of frameworks write where they do not know the provider."""

_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "anthropic": ("claude", "firstparty"),
    "aws.bedrock": (
        "aws", "bedrock", "amazon-bedrock", "amazon_bedrock", "bedrock_converse", "bedrock_converse_model",
        "aws_bedrock", "awsbedrock", "amazon", "amazon bedrock",
    ),
    "azure.ai.inference": (
        "az.ai.inference", "azure_ai", "azure_ai_inference", "azure", "az.ai.agents", "azure.ai.agents",
        "microsoft.agents", "microsoft.foundry", "microsoft_foundry",
    ),
    "azure.ai.openai": (
        "az.ai.openai", "azure_openai", "azure-openai", "azureopenai", "azure.openai", "azure_text", "azure_open_ai",
    ),
    "cohere": ("cohere_chat",),
    "deepseek": (),
    "gcp.gemini": (
        "gemini", "google.generative-ai", "google_genai", "google-gla", "google_ai_studio", "google ai studio",
        "google_ai_gemini",
    ),
    "gcp.gen_ai": ("google_generativeai", "googlegenerativeai", "google", "googlegenai"),
    "gcp.vertex_ai": (
        "vertex_ai", "vertexai", "google-vertex", "google.vertex", "google_vertexai", "vertex_ai_beta", "vertex",
        "google_anthropic_vertex", "google vertex", "google_vertex_ai_gemini", "google_vertex_ai_anthropic",
    ),
    "groq": (),
    "ibm.watsonx.ai": ("watsonx", "watsonx.ai", "watsonx_ai", "ibm"),
    "mistral_ai": ("mistral", "mistralai", "mistral-ai"),
    "moonshot_ai": ("moonshot", "moonshotai", "kimi"),
    "openai": ("oai", "open_ai", "openai_text", "openai_chat", "chatopenai", "text-completion-openai"),
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
_MODELS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(family), name)
    for family, name in (
        (r"gpt-35-", "azure.ai.openai"),
        (r"(?:ft:)?(?:gpt-(?!oss)|o4-mini|(?:text-)?(?:davinci|babbage|curie)-0)|o[134](?:-|$)|chatgpt-", "openai"),
        (r"text-embedding-(?:3|ada)|codex-mini|computer-use-|omni-moderation-", "openai"),
        (r"claude-", "anthropic"),
        (r"gemini-|text-embedding-00\d|learnlm-", "gcp.gen_ai"),
        (r"deepseek-(?:chat|reasoner)$", "deepseek"),
        (r"grok-(?!1(?:-|$))", "x_ai"),
        (r"mistral-(?:large|medium)(?:-|$)|mistral-embed|(?:codestral|ministral|magistral|pixtral|mistral)-[\w-]*latest",
         "mistral_ai"),
        (r"command(?:-r|-a|-light|$)|embed-(?:english|multilingual|v\d)|rerank-(?:english|multilingual|v\d)", "cohere"),
        (r"sonar(?:-|$)", "perplexity"),
        (r"moonshot-v", "moonshot_ai"),
    )
)  # fmt: skip

# What routers put before a model's id, where it says who serves whatever follows. The name of a lab does not:
# its open weights are served by anyone, so there the model has to be the lab's own.
_ROUTES: Final[dict[str, str]] = {
    **{name: name for name in ("openrouter", "ollama", "together_ai", "fireworks_ai", "cerebras", "groq", "replicate")},
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
}

_CLIENT: Final = re.compile(r"(\w+?)(?:_responses)?_llm")
"""LlamaIndex's names of its clients."""

# The APIs of one provider, which SDKs tell apart.
_APIS: Final = frozenset({"chat", "responses", "messages", "completion", "completions", "embedding", "embeddings"})


def provider_of(value: str) -> str | None:
    """Return the provider that `value` names; None for frameworks and for what names nothing."""
    return _provider_of(value) if len(value) <= MAX_CHARS else None


@lru_cache(1024)
def _provider_of(value: str) -> str | None:
    name = value.strip().lower()
    if not name or name in FRAMEWORKS:
        return None
    if name in _CANONICAL:
        return _CANONICAL[name]
    if (client := _CLIENT.fullmatch(name)) is not None:
        return _provider_of(client[1])
    head, _, interface = name.rpartition(".")
    if head and interface in _APIS:
        return _provider_of(head)
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


def provider_at(address: str) -> str | None:
    """Return who answers at a server address; None for hosts that are nobody's public API."""
    return _provider_at(address) if len(address) <= MAX_CHARS * 2 else None


@lru_cache(1024)
def _provider_at(address: str) -> str | None:
    address = address.lower()
    if address.startswith("bedrock-runtime") and address.endswith(".amazonaws.com"):
        return "aws.bedrock"
    return next((name for host, name in _HOSTS if address.endswith(host)), None)


def provider_of_model(model: str) -> str | None:
    """Return the only provider of a model family; None for models that several serve."""
    return _provider_of_model(model) if len(model) <= MAX_CHARS * 2 else None


@lru_cache(1024)
def _provider_of_model(model: str) -> str | None:
    model = model.lower().removeprefix("models/")
    if BEDROCK_ID.match(model) or model.startswith("arn:aws:bedrock:"):
        return "aws.bedrock"
    if model.startswith(("projects/", "publishers/")):
        return "gcp.vertex_ai"
    head, slash, rest = model.partition("/")
    if slash and head in _ROUTES:
        return _ROUTES[head]
    if not slash:
        head, slash, rest = model.partition(":")  # not `ft:gpt-4o` and not `mistral:7b`
    if slash and head in _CANONICAL and _provider_of_model(rest) is not None:
        return _CANONICAL[head]
    return next((name for family, name in _MODELS if family.match(model)), None)


def provider_of_pair(serves: str | None, speaks: str | None) -> str | None:
    """Return the provider out of who serves (`llm.provider`) and whose API it is (`llm.system`)."""
    if serves is None:
        return provider_of(speaks) if speaks else None
    served = serves.strip().lower()
    spoken = (speaks or "").strip().lower()
    if served == "azure":
        return "azure.ai.openai" if spoken == "openai" else "azure.ai.inference"
    if served == "google":
        # Anthropic's models are Google's to sell on Vertex AI only.
        return "gcp.vertex_ai" if spoken in {"vertexai", "anthropic"} else "gcp.gen_ai"
    return provider_of(serves)
