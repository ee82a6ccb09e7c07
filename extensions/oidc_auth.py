"""Tokens of an OpenID Connect issuer: the Collector's oidc."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import pydantic

from spanledger.conventions.nesting import loads
from spanledger.processor.auth import SERVER, CannotTell, Unauthenticated
from spanledger.processor.authorities import default_context
from spanledger.processor.component import ComponentConfig, Host, register

# Signatures by a key that only the issuer has; never `none`, never a shared secret.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA")
MAX_ANSWER_BYTES: Final = 1024 * 1024
FETCH_TIMEOUT_S: Final = 10.0
REFRESH_S: Final = 3600.0
"""How long the issuer's keys are used before they are asked for again."""
ASK_AGAIN_S: Final = 10.0
"""Shortest time between two questions: tokens with unknown keys are a way to make us ask."""
LEEWAY_S: Final = 30.0
_MAX_TOKEN: Final = 16 * 1024
_DISCOVERY: Final = ".well-known/openid-configuration"

Fetch = Callable[[str], Awaitable[bytes]]


class OidcConfig(ComponentConfig):
    """Whose tokens; keys of the Collector's oidc.

    ::

        extensions:
          oidc:
            issuer_url: https://accounts.example.com
            audience: spanledger
    """

    issuer_url: str
    """URL of the issuer, as its tokens have it in `iss`."""
    audience: str = ""
    """What tokens must have in `aud`."""
    ignore_audience: bool = False
    """Take tokens that were made for others too. Not recommended."""
    attribute: Annotated[str, pydantic.Field(pattern=r"^[0-9A-Za-z_.-]+$")] = "authorization"
    """Header that carries `Bearer TOKEN`."""
    issuer_ca_path: str = ""
    """PEM file with the authorities to trust for the issuer's certificate."""

    @pydantic.model_validator(mode="after")
    def _whole(self) -> OidcConfig:
        if not _trusted(self.issuer_url):
            raise ValueError("issuer_url is not an https URL: whoever answers there decides who may send")
        if not self.audience and not self.ignore_audience:
            raise ValueError("audience is missing (ignore_audience: true takes tokens that were made for others)")
        return self


def _trusted(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"})


@register("extension", "oidc", config=OidcConfig, signals=(), stability="alpha")
class OidcAuth:
    """Demands a token of an OpenID Connect issuer of clients."""

    offers: ClassVar[frozenset[str]] = frozenset({SERVER})

    def __init__(self, config: OidcConfig, host: Host, *, fetch: Fetch | None = None) -> None:
        try:
            import jwt
        except ImportError:
            raise ValueError("oidc needs the package pyjwt: pip install 'spanledger[auth]'") from None
        self._jwt = jwt
        self._config = config
        self._host = host
        self._fetch = fetch or self._get
        self._keys: dict[str, Any] = {}
        self._asked_s = float("-inf")
        self._asking = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None
        self._why = ""

    async def start(self) -> None:
        """Ask for the keys; an issuer that is away is asked again when a request comes."""
        await self._refresh()

    async def shutdown(self, deadline: float) -> int:
        """Stop asking."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        return 0

    def statistics(self) -> Mapping[str, Any]:
        """Return the number of keys, and why there are none."""
        return {"keys": len(self._keys), "last_error": self._why or None}

    async def authenticate(self, headers: Mapping[str, str]) -> None:
        """Verify signature, issuer, audience and time of the token."""
        scheme, _, token = headers.get(self._config.attribute.lower(), "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or not token.isascii() or len(token) > _MAX_TOKEN:
            raise Unauthenticated(f"no token: send the header {self._config.attribute} with `Bearer TOKEN`")
        key = await self._key_of(token)
        try:
            self._jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                issuer=self._config.issuer_url,
                audience=None if self._config.ignore_audience else self._config.audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss"], "verify_aud": not self._config.ignore_audience},
            )
        except (self._jwt.PyJWTError, TypeError, ValueError) as error:
            # TypeError: the algorithm in the header is not that of the key. The library's sentences name the claim
            # that is wrong, never its value.
            raise Unauthenticated(f"the token is not valid: {error}") from None

    async def _key_of(self, token: str) -> Any:
        try:
            name = str(self._jwt.get_unverified_header(token).get("kid", ""))
        except (self._jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthenticated("the token is not a JSON web token") from None
        if (key := self._known(name)) is None:
            await self._refresh()
            key = self._known(name)
        elif self._is_old() and (self._refreshing is None or self._refreshing.done()):
            # Nobody waits for an issuer that takes long to say what is known.
            self._refreshing = asyncio.create_task(self._refresh(), name=f"{self._host.id} keys")
        if key is not None:
            return key
        if self._why:
            raise CannotTell("the issuer does not tell its keys")
        raise Unauthenticated("the token is signed with a key that the issuer does not have")

    def _is_old(self) -> bool:
        return self._host.monotonic() - self._asked_s >= REFRESH_S

    def _known(self, name: str) -> Any | None:
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _refresh(self) -> None:
        """Ask the issuer for its keys, not too often; what is known stays when it does not answer."""
        async with self._asking:
            if self._host.monotonic() - self._asked_s < ASK_AGAIN_S:
                return
            try:
                about = loads(await self._fetch(f"{self._config.issuer_url.rstrip('/')}/{_DISCOVERY}"))
                if about["issuer"] != self._config.issuer_url:
                    raise ValueError("its discovery document names another issuer")
                if not _trusted(where := str(about["jwks_uri"])):
                    raise ValueError("its keys are not at an https URL")
                keys = loads(await self._fetch(where))["keys"]
                self._keys = dict(self._usable(keys))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError) as error:
                self._why = str(error) or type(error).__name__
                self._host.log.warning("oidc: cannot get the keys of %s: %s", self._config.issuer_url, self._why)
                self._host.report("recoverable_error", f"cannot get the issuer's keys: {self._why}")
            else:
                self._why = ""
                self._host.report("ok", "")
            finally:
                # From the end of the answer: those who waited for it do not ask again, one after the other.
                self._asked_s = self._host.monotonic()

    def _usable(self, keys: Any) -> list[tuple[str, Any]]:
        usable: list[tuple[str, Any]] = []
        for entry in keys if isinstance(keys, list) else []:
            if isinstance(entry, dict) and entry.get("use", "sig") == "sig":
                try:
                    usable.append((str(entry.get("kid", "")), self._jwt.PyJWK.from_dict(entry).key))
                except self._jwt.PyJWTError:
                    continue
        return usable

    async def _get(self, url: str) -> bytes:
        # In a thread: reading all authorities of the system takes a while.
        context = await asyncio.to_thread(default_context, ca_file=self._config.issuer_ca_path or None)
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, ssl=context, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise ValueError(f"{url} answers with more than {MAX_ANSWER_BYTES} bytes")
            return bytes(body)
