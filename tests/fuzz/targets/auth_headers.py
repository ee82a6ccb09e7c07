"""Headers of those who want in, and the files and answers that say who may."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import jwt

from spanledger.extensions import basic_auth, bearer_token_auth
from spanledger.extensions.basic_auth import BasicAuth, BasicAuthConfig
from spanledger.extensions.bearer_token_auth import BearerTokenAuth, BearerTokenConfig
from spanledger.extensions.oidc_auth import OidcAuth, OidcConfig
from spanledger.processor.auth import CannotTell, Unauthenticated
from tests.fakes import host
from tests.fuzz.draw import Draw

_HASH = "$2b$04$abcdefghijklmnopqrstuuJm1tDBfTzCTl0WbvmNVXcG2XJrQ0bqa"
_ISSUER = "https://issuer.test"
_JWKS = b'{"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]}'


def fuzz(data: bytes) -> None:
    """Nobody comes in, and nobody gets an error of ours."""
    draw = Draw(data)
    kind = draw.number(6)
    if kind == 4:
        with contextlib.suppress(ValueError):
            basic_auth._users(draw.rest().decode("utf-8", "replace"))
    elif kind == 5:
        with contextlib.suppress(ValueError):
            bearer_token_auth._tokens(draw.rest().decode("utf-8", "replace"))
    else:
        asyncio.run(_knock(kind, draw))


async def _knock(kind: int, draw: Draw) -> None:
    keys = _JWKS
    if kind == 0:
        auth = BearerTokenAuth(BearerTokenConfig.model_validate({"token": "s3cret"}), host("bearertokenauth"))
        given = _header(draw)
        if given == "Bearer s3cret":
            return
    elif kind == 1:
        users = {"inline": f"alice:{_HASH}\nbob:pass"}
        auth = BasicAuth(BasicAuthConfig.model_validate({"htpasswd": users}), host("basicauth"))  # type: ignore[assignment]
        given = _header(draw)
        if draw.flag():
            given = "Basic " + base64.b64encode(draw.pick((b"alice:", b"bob:", b"")) + draw.rest()).decode()
        if base64.b64encode(b"bob:pass").decode() in given:
            return
    else:
        if kind == 3:
            keys = draw.rest()
            given = "Bearer " + jwt.encode({"exp": 1, "iss": _ISSUER}, "x" * 40, headers={"kid": "a"})
        else:
            given = "Bearer " + draw.rest().decode("utf-8", "surrogateescape")
        config = OidcConfig.model_validate({"issuer_url": _ISSUER, "audience": "us"})

        async def fetch(url: str) -> bytes:
            return f'{{"issuer": "{_ISSUER}", "jwks_uri": "{_ISSUER}/k"}}'.encode() if "well-known" in url else keys

        auth = OidcAuth(config, host("oidc"), fetch=fetch)  # type: ignore[assignment]
    await auth.start()
    try:
        await auth.authenticate({"authorization": given})
    except (Unauthenticated, CannotTell):
        return
    finally:
        await auth.shutdown(0.0)
    raise AssertionError("somebody came in")


def _header(draw: Draw) -> str:
    """Return a header as aiohttp hands it over: what is no UTF-8 comes as surrogates."""
    return draw.pick(("Bearer ", "Basic ", "basic ", "")) + draw.raw(40).decode("utf-8", "surrogateescape")
