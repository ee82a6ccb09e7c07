"""Microsoft Semantic Kernel: Python 1.x to 1.45, .NET 1.x.

Close to the conventions of 2024. The finish reason is one, and in Python the text of an enumeration; the address
of a server is its URL; the first releases counted tokens under `gen_ai.response.*`.
"""

from __future__ import annotations

from typing import Final

from spanledger.conventions import coerce
from spanledger.conventions.dialect import STRUCTURAL, Dialect, Kinded

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
)
