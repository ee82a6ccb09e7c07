"""Microsoft Semantic Kernel: Python 1.x to 1.45, .NET 1.x.

Close to the conventions of 2024. The finish reason is one, and in Python the text of an enumeration; the address
of a server is its URL; the first releases counted tokens under `gen_ai.response.*`. In Python a tool of no plugin
is a prompt that the application ran itself, under a name that is made up each time: models are offered plugins.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import STRUCTURAL, TOOL_CALL_ID, TOOL_NAME, Dialect, Facts, Kinded

_FUNCTIONS: Final = "semantic_kernel.functions.kernel_function"


def _complete(facts: Facts) -> None:
    if facts.scope == _FUNCTIONS and TOOL_CALL_ID not in facts.values and "-" not in (facts.text(TOOL_NAME) or ""):
        facts.kind, facts.operation = STRUCTURAL
        facts.forget(TOOL_NAME)


DIALECT: Final = Dialect(
    name="semantic_kernel",
    source="https://github.com/microsoft/semantic-kernel",
    scopes=("semantic_kernel", "Microsoft.SemanticKernel"),
    evidence=("sk.available_functions",),
    names={"AutoFunctionInvocationLoop": STRUCTURAL},
    operations={
        "chat.completions": Kinded("llm", "chat"),
        "chat.streaming_completions": Kinded("llm", "chat"),
        "text.completions": Kinded("llm", "text_completion"),
        "text.streaming_completions": Kinded("llm", "text_completion"),
    },
    sources={
        "gen_ai.usage.input_tokens": ("gen_ai.response.prompt_tokens",),
        "gen_ai.usage.output_tokens": ("gen_ai.response.completion_tokens",),
        "server.port": (("server.address", coerce.port),),
    },
    complete=_complete,
)
