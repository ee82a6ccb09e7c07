"""Tokens in a header: the Collector's bearertokenauth."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Annotated, ClassVar

import pydantic

from spanledger.extensions.secret_file import SecretFile
from spanledger.processor.auth import CLIENT, SERVER, CannotTell, Unauthenticated
from spanledger.processor.component import ComponentConfig, Host, Passive, register
from spanledger.processor.settings import Secret


class BearerTokenConfig(ComponentConfig):
    """Which tokens; keys of the Collector's bearertokenauth.

    ::

        extensions:
          bearertokenauth:
            token: ${env:SPANLEDGER_TOKEN}
    """

    header: Annotated[str, pydantic.Field(pattern=r"^[0-9A-Za-z_.-]+$")] = "Authorization"
    """Header that carries the token."""
    scheme: str = "Bearer"
    """Word in front of the token; empty for none."""
    token: Secret | None = None
    """The token, such as `${env:TOKEN}`."""
    tokens: list[Secret] = pydantic.Field(default_factory=list)
    """Several tokens: clients may use any of them, we use the first."""
    filename: str = ""
    """File with the tokens, each the first word of a line, read anew when it changes; comes before the other two."""

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> BearerTokenConfig:
        if self.token is not None and self.tokens:
            raise ValueError("either token or tokens, not both")
        if self.token is None and not self.tokens and not self.filename:
            raise ValueError("no token: set token, tokens or filename")
        for secret in (self.token, *self.tokens):
            if secret is not None and not _sendable(secret.get_secret_value()):
                raise ValueError("a token is empty, or has blanks or other characters that no token can have")
        return self


@register("extension", "bearertokenauth", config=BearerTokenConfig, signals=(), stability="alpha")
class BearerTokenAuth(Passive):
    """Demands a bearer token of clients, or sends one to backends."""

    offers: ClassVar[frozenset[str]] = frozenset({SERVER, CLIENT})

    def __init__(self, config: BearerTokenConfig, host: Host) -> None:
        self._header = config.header.lower()
        self._prefix = f"{config.scheme} " if config.scheme else ""
        given = (config.token, *config.tokens)
        self._tokens = tuple(secret.get_secret_value() for secret in given if secret is not None)
        self._filename = config.filename
        self._file = SecretFile(config.filename, host, _tokens) if config.filename else None

    async def start(self) -> None:
        """Read the file, so that a mistake is seen now."""
        try:
            self._known()
        except (OSError, ValueError) as error:
            raise ValueError(f"filename: cannot use {self._filename}: {_why(error)}") from error

    async def authenticate(self, headers: Mapping[str, str]) -> None:
        """Compare with each known token, in a time that tells nothing."""
        # What is no text comes as surrogates.
        given = headers.get(self._header, "").encode(errors="surrogatepass")
        try:
            known = self._known()
        except (OSError, ValueError):
            raise CannotTell("the file with the tokens cannot be used") from None
        matches = [hmac.compare_digest(given, f"{self._prefix}{token}".encode()) for token in known]
        if not any(matches):
            raise Unauthenticated(
                f"no valid token: send the header {self._header} with `{self._prefix}TOKEN`"
                if not given
                else f"the token in the header {self._header} is not valid"
            )

    async def headers(self) -> Mapping[str, str]:
        """Return the header with the first token."""
        return {self._header: f"{self._prefix}{self._known()[0]}"}

    def _known(self) -> tuple[str, ...]:
        return self._tokens if self._file is None else self._file.value()


def _tokens(text: str) -> tuple[str, ...]:
    # What follows the token is a comment, to the Collector too.
    found = tuple(line.split()[0] for line in text.splitlines() if line.strip())
    if not found or not all(map(_sendable, found)):
        raise ValueError("it has no token, or one with characters that no header can carry")
    return found


def _sendable(token: str) -> bool:
    # https://www.rfc-editor.org/rfc/rfc6750#section-2.1; of a token with a blank a Collector sends the first word.
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
