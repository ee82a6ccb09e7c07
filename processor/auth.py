"""Who may send to us and who we are to others: what `auth::authenticator` refers to.

An extension offers `server authentication`, `client authentication` or both. Keys and names are those of the
Collector's configauth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Protocol

from spanledger.processor.component import ComponentId, Needs, PipelineError, Refused, Settings
from spanledger.processor.settings import IdOfComponent

SERVER: Final = "server authentication"
CLIENT: Final = "client authentication"


CHALLENGE: Final = 'Bearer, Basic realm="spanledger"'
"""`WWW-Authenticate` of an answer to those who are not known."""


class Unauthenticated(PipelineError):  # noqa: N818 - reads as the condition it is
    """The request does not say who sends it, or not truly. The message goes to the sender and holds no secret."""


class CannotTell(Refused):
    """Whether the sender is known cannot be told now, for a reason of ours: it may try again."""

    def __init__(self, why: str) -> None:
        super().__init__(f"who sends this cannot be checked now: {why}", reason="not_ready")


class ServerAuth(Protocol):
    """Looks at requests that come in."""

    async def authenticate(self, headers: Mapping[str, str]) -> None:
        """Return when the sender is known; raises `Unauthenticated` or `CannotTell`. Names are in lower case."""
        ...


class ClientAuth(Protocol):
    """Says on requests that go out who sends them."""

    async def headers(self) -> Mapping[str, str]:
        """Return what to add to a request; names are in lower case. Raises OSError when a file is not there."""
        ...


class AuthServer(Settings):
    """Demand that clients say who they are."""

    authenticator: Annotated[IdOfComponent, Needs(SERVER)]
    """Id of an extension: `bearertokenauth`, `basicauth` or `oidc`."""


class AuthClient(Settings):
    """Say who we are."""

    authenticator: Annotated[IdOfComponent, Needs(CLIENT)]
    """Id of an extension: `bearertokenauth` or `basicauth`."""


def server_auth(auth: AuthServer | None, extensions: Mapping[ComponentId, ServerAuth]) -> ServerAuth | None:
    """Return the extension that `auth` names; None where everybody may come."""
    return None if auth is None else extensions[auth.authenticator]


def client_auth(auth: AuthClient | None, extensions: Mapping[ComponentId, ClientAuth]) -> ClientAuth | None:
    """Return the extension that `auth` names; None without one."""
    return None if auth is None else extensions[auth.authenticator]
