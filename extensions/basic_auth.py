"""User and password: the Collector's basicauth."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import pydantic

from spanledger.extensions.secret_file import SecretFile
from spanledger.processor.auth import CLIENT, SERVER, CannotTell, Unauthenticated
from spanledger.processor.component import ComponentConfig, Host, Passive, Settings, register
from spanledger.processor.settings import Secret

_MAX_PASSED: Final = 1024
_MAX_HEADER: Final = 4096
_MAX_WAITING: Final = 64
"""Passwords that wait to be compared; one takes a quarter of a second."""
_BCRYPT: Final = ("$2y$", "$2b$", "$2a$")
_BCRYPT_WHOLE: Final = re.compile(r"\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}")
_SHA1: Final = "{SHA}"


class Htpasswd(Settings):
    """Who may come in."""

    file: str = ""
    """File with `user:hash` lines, as `htpasswd -B` writes them; read anew when it changes."""
    inline: Secret | None = None
    """The same lines, in the configuration; they come before those of the file."""


class BasicClient(Settings):
    """Who we are to backends."""

    username: str = ""
    """User."""
    password: Secret = Secret("")
    """Password, such as `${env:PASSWORD}`."""
    username_file: str = ""
    """File with the user, read anew when it changes; comes before `username`."""
    password_file: str = ""
    """File with the password, read anew when it changes; comes before `password`."""


class BasicAuthConfig(ComponentConfig):
    """Either side; keys of the Collector's basicauth.

    ::

        extensions:
          basicauth:
            htpasswd: {file: /etc/spanledger/htpasswd}
    """

    htpasswd: Htpasswd | None = None
    """Demand user and password of clients."""
    client_auth: BasicClient | None = None
    """Send user and password to backends."""

    @pydantic.model_validator(mode="after")
    def _one_side(self) -> BasicAuthConfig:
        if (self.htpasswd is None) == (self.client_auth is None):
            raise ValueError("set either htpasswd, for clients of ours, or client_auth, for backends")
        if self.htpasswd is not None and not self.htpasswd.file and self.htpasswd.inline is None:
            raise ValueError("htpasswd has no users: set file or inline")
        if self.htpasswd is not None and self.htpasswd.inline is not None:
            _users(self.htpasswd.inline.get_secret_value())
        if self.client_auth is not None and not (self.client_auth.username or self.client_auth.username_file):
            raise ValueError("client_auth has no username")
        return self


@register("extension", "basicauth", config=BasicAuthConfig, signals=(), stability="alpha")
class BasicAuth(Passive):
    """Demands user and password of clients, or sends them to backends."""

    offers: ClassVar[frozenset[str]] = frozenset({SERVER, CLIENT})

    def __init__(self, config: BasicAuthConfig, host: Host) -> None:
        self._config = config
        self._key = secrets.token_bytes(32)
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        """Headers that were right, as keyed digests with the hash they were compared with: bcrypt takes long."""
        # One at a time: comparing takes a core, and strangers can make us do it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(host.id))
        self._turn = asyncio.Lock()
        self._waiting = 0
        htpasswd, client = config.htpasswd, config.client_auth
        self._inline = _users(htpasswd.inline.get_secret_value()) if htpasswd and htpasswd.inline else {}
        self._users = SecretFile(htpasswd.file, host, _users) if htpasswd and htpasswd.file else None
        self._files = {
            path: SecretFile(path, host, str.strip)
            for path in ((client.username_file, client.password_file) if client else ())
            if path
        }

    async def start(self) -> None:
        """Read the files, so that a mistake is seen now."""
        files: dict[str, SecretFile[Any]] = {**self._files}
        if self._config.htpasswd is not None and self._users is not None:
            files[self._config.htpasswd.file] = self._users
        for path, file in files.items():
            try:
                file.value()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise ValueError(f"cannot use {path}: {why}") from error

    async def authenticate(self, headers: Mapping[str, str]) -> None:
        """Compare with the user's hash."""
        given = headers.get("authorization", "")
        scheme, _, encoded = given.partition(" ")
        if scheme.lower() != "basic" or len(given) > _MAX_HEADER:
            raise Unauthenticated("no user and password: send the header Authorization with `Basic …`")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise Unauthenticated("the header Authorization is not base64 of `user:password`") from None
        users = self._known()
        # One who is not there is compared with somebody: the time it takes must not tell who is.
        known = users.get(user, next(iter(users.values()), ""))
        if not await self._matches(given, password, known) or user not in users:
            raise Unauthenticated("user or password are not right")

    async def headers(self) -> Mapping[str, str]:
        """Return the header with our user and password."""
        client = self._config.client_auth
        if client is None:
            raise ValueError("client_auth is not configured")
        user = self._files[client.username_file].value() if client.username_file else client.username
        password = (
            self._files[client.password_file].value() if client.password_file else client.password.get_secret_value()
        )
        return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}

    def _known(self) -> dict[str, str]:
        if self._users is None:
            return self._inline
        try:
            return self._users.value() | self._inline
        except (OSError, ValueError):
            raise CannotTell("the file with the users cannot be used") from None

    async def _matches(self, given: str, password: str, known: str) -> bool:
        digest = hmac.digest(self._key, f"{given}\n{known}".encode(), "sha256")
        if digest not in self._passed:
            if self._waiting >= _MAX_WAITING:
                raise CannotTell("too many passwords are being compared")
            self._waiting += 1
            try:
                async with self._turn:
                    # Its sender's requests come together: one of them is compared.
                    if digest not in self._passed and not await self._is(password, known):
                        return False
            finally:
                self._waiting -= 1
        self._passed[digest] = None
        self._passed.move_to_end(digest)
        if len(self._passed) > _MAX_PASSED:
            self._passed.popitem(last=False)
        return True

    async def _is(self, password: str, known: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _is, password, known)


def _users(text: str) -> dict[str, str]:
    """Read `user:hash` lines. Raises ValueError for hashes that are not safe or not known."""
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, known = line.strip().partition(":")
        if not colon or not user:
            raise ValueError(f"line {number} is not `user:hash`")
        if not known:
            raise ValueError(f"line {number} has no password: everybody would be let in")
        if known.startswith(_BCRYPT):
            if not _BCRYPT_WHOLE.fullmatch(known):
                raise ValueError(f"line {number} has a bcrypt hash that is not whole")
            _bcrypt()
        elif known.startswith(("$", "{")) and not known.startswith(_SHA1):
            # Taken as it stands, it would be a password: that of whoever reads the file.
            raise ValueError(f"line {number} has a hash of another kind; make a bcrypt one with `htpasswd -B`")
        users[user] = known
    return users


def _is(password: str, known: str) -> bool:
    if known.startswith(_BCRYPT):
        return bool(_bcrypt().checkpw(password.encode()[:72], known.encode()))
    if known.startswith(_SHA1):
        digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()  # noqa: S324 - the file's choice
        return hmac.compare_digest(digest.encode(), known.removeprefix(_SHA1).encode())
    return hmac.compare_digest(password.encode(), known.encode())


def _bcrypt() -> Any:
    try:
        return importlib.import_module("bcrypt")
    except ImportError:
        raise ValueError("bcrypt hashes need the package bcrypt: pip install 'spanledger[auth]'") from None
