"""Who sells a model: the many names of a provider, and the names that are no seller at all.

A seller is named by its id in genai-prices, or in the second catalogue. Names are compared without case and
punctuation, so that `x_ai`, `x-ai` and `xAI` are one. Nothing is matched by "contains": `azure.ai.openai` is not
OpenAI.
Sources of the spellings: OTel GenAI well-known values (1.26 to main), OpenInference `llm.provider` and
`llm.system`, LiteLLM, Vercel AI SDK, LangChain `ls_provider`, Pydantic AI, as seen in recorded traffic.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Role = Literal["seller", "gateway", "framework", "local", "unknown"]
"""`gateway` and `framework` pass calls on, so the model decides; `local` runs models on own machines."""

_ALIASES: Final[dict[str, str]] = {
    "anthropic": "anthropic claude firstparty anthropicapi claudeapi",
    "aws": (
        "aws bedrock awsbedrock amazon amazonbedrock bedrockconverse bedrockconversemodel bedrockruntime "
        "awsbedrockruntime anthropicbedrock bedrockanthropic amazonnova awsbedrockconverse"
    ),
    "azure": (
        "azure azureopenai azureaiopenai azaiopenai azureaiinference azaiinference azureai azureaifoundry "
        "azurefoundry microsoftfoundry azureinference azureaistudio microsoftazure azuretext"
    ),
    "google": (
        "google gemini gcpgemini gcpgenai gcpvertexai gcpvertex gcpvertexagent vertex vertexai vertexaibeta "
        "googlevertex googlevertexai googlegenai googlegenerativeai googlegla googleai googleaistudio "
        "anthropicvertex vertexanthropic googlevertexanthropic googleanthropicvertex vertexaianthropic "
        "googleaigemini googleaistudiogemini"
    ),
    "openai": "openai oai openaitext openairesponses openaicompletion openaicompletions openaiapi textcompletionopenai",
    "mistral": "mistral mistralai",
    "x-ai": "xai grok",
    "moonshotai": "moonshotai moonshot kimi",
    "cohere": "cohere coherev2 cohereai",
    "perplexity": "perplexity perplexityai pplx",
    "together": "together togetherai",
    "fireworks": "fireworks fireworksai",
    "zhipuai": "zhipuai zhipu bigmodel",
    "zai": "zai",
    "minimax": "minimax minimaxai",
    "novita": "novita novitaai",
    "voyageai": "voyageai voyage",
    "cloudflare": "cloudflare workersai cloudflareworkersai",
    "github-copilot": "githubcopilot copilot",
    "ovhcloud": "ovhcloud ovh",
    "dashscope": "dashscope alibaba alibabacloud qwen tongyi",
    "featherlessai": "featherlessai featherless",
    "friendliai": "friendliai friendli",
    "jinaai": "jinaai jina",
    "lambdaai": "lambdaai lambda lambdalabs",
    "watsonx": "watsonx ibmwatsonxai ibmwatsonx watsonxai ibm",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GATEWAYS: Final = _words("""
    litellm litellmproxy portkey vercel vercelaigateway aigateway gateway helicone requesty bifrost kong
    cloudflareaigateway martian unify notdiamond llmproxy proxy envoy envoyaigateway truefoundry
""")
_FRAMEWORKS: Final = _words("""
    langchain langgraph crewai autogen autogencore autogenagentchat strands strandsagents pydanticai agentframework
    microsoftagentframework haystack llamaindex mcp semantickernel dspy smolagents agno googleadk adk openaiagents
    agentscope aisdk genkit mastra springai langsmith langfuse traceloop openinference unknown other none custom
    customopenai openailike openaicompatible default
""")
_LOCAL: Final = _words("""
    ollama vllm hostedvllm lmstudio llamacpp llamacpppython llamafile localai local selfhosted tgi
    textgenerationinference sglang xinference mlx mlc mlcllm gpt4all koboldcpp tabbyapi exllama tensorrtllm triton
    sagemaker awssagemaker amazonsagemaker sagemakerchat nvidianim nim huggingfacepipeline transformers ramalama
    docker dockermodelrunner openllm bentoml jan lemonade foundrylocal
""")
_ONE_NAME: Final = _words("""
    arcee avian baseten cerebras cursor databricks deepseek doubleword elevenlabs groq meta modal openrouter
    quicksilverpro typesafe
    huggingface_cerebras huggingface_fireworks-ai huggingface_groq huggingface_hyperbolic huggingface_nebius
    huggingface_novita huggingface_nscale huggingface_ovhcloud huggingface_publicai huggingface_sambanova
    huggingface_together
    ai21 anyscale assemblyai crusoe deepgram deepinfra gmi gradientai heroku hyperbolic inception morph nebius
    nscale oci replicate sambanova scaleway snowflake v0 volcengine wandb
""")

_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")
_SEPARATOR: Final = re.compile(r"[./:|]")


def squash(name: str) -> str:
    """Return a name without case and punctuation, as all names of providers are compared."""
    return _PUNCTUATION.sub("", name.lower())


_SELLERS: Final = {name: seller for seller, names in _ALIASES.items() for name in names.split()} | {
    squash(seller): seller for seller in _ONE_NAME
}


def role_of(name: str | None) -> tuple[Role, str]:
    """Return what a provider name stands for, and the seller's id ("" unless it is a seller).

    `openai.responses` and `google.vertex.anthropic` are read from the left: parts are dropped from the
    right until the rest is known. `ChatOpenAI` and `openai-chat` are OpenAI.
    """
    if not name:
        return "framework", ""
    parts = _SEPARATOR.split(name.strip()[:128])
    while parts:
        key = squash("".join(parts))
        for spelling in (key, key.removeprefix("chat"), key.removesuffix("chat")):
            if seller := _SELLERS.get(spelling):
                return "seller", seller
            if spelling in _GATEWAYS:
                return "gateway", ""
            if spelling in _LOCAL:
                return "local", ""
            if spelling in _FRAMEWORKS:
                return "framework", ""
        parts.pop()
    return "unknown", ""
