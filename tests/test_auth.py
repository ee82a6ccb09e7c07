"""Who may send to us, and who we say we are: the extensions, alone and on the wire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import grpc
import jwt
import pydantic
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spanledger.exporters.otlp import OtlpConfig, OtlpExporter
from spanledger.exporters.otlp_http import OtlpHttpConfig, OtlpHttpExporter
from spanledger.extensions.basic_auth import BasicAuth, BasicAuthConfig
from spanledger.extensions.bearer_token_auth import BearerTokenAuth, BearerTokenConfig
from spanledger.extensions.oidc_auth import OidcAuth, OidcConfig
from spanledger.processor.auth import CannotTell, Unauthenticated
from spanledger.processor.batch import Delivery
from spanledger.processor.component import ComponentId
from spanledger.processor.listen import WebServer
from spanledger.processor.metric_store import MetricTable
from spanledger.processor.settings import TLSServer
from spanledger.processor.watched_files import WatchedFiles
from spanledger.service.config import load
from spanledger.service.graph import Surroundings, build
from tests.certificates import make_certificates
from tests.fakes import Clock, host, request, span
from tests.otlp_receiver import running

BEARER = ComponentId("bearertokenauth")
AUTH = {"auth": {"authenticator": "bearertokenauth"}}


def bearer(clock: Clock | None = None, **config: Any) -> BearerTokenAuth:
    """Return the extension."""
    return BearerTokenAuth(BearerTokenConfig.model_validate(config), host("bearertokenauth", clock))


def basic(clock: Clock | None = None, **config: Any) -> BasicAuth:
    """Return the extension."""
    return BasicAuth(BasicAuthConfig.model_validate(config), host("basicauth", clock))


def userpass(user: str, password: str) -> dict[str, str]:
    """Return the header of a client."""
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("config", "headers", "known"),
    [
        ({"token": "s3cret"}, {"authorization": "Bearer s3cret"}, True),
        ({"token": "s3cret"}, {"authorization": "Bearer other"}, False),
        ({"token": "s3cret"}, {"authorization": "s3cret"}, False),
        ({"token": "s3cret"}, {"authorization": "Bearer ünicode"}, False),
        ({"token": "s3cret"}, {"authorization": "Bearer \udcff"}, False),
        ({"token": "s3cret"}, {}, False),
        ({"tokens": ["a", "b"]}, {"authorization": "Bearer b"}, True),
        ({"token": "k", "header": "X-Api-Key", "scheme": ""}, {"x-api-key": "k"}, True),
    ],
)
async def test_bearer_tokens(config: dict[str, Any], headers: dict[str, str], *, known: bool) -> None:
    """Known ones pass; the others hear what is missing and no secret."""
    extension = bearer(**config)
    if known:
        await extension.authenticate(headers)
        return
    with pytest.raises(Unauthenticated) as error:
        await extension.authenticate(headers)
    assert "s3cret" not in str(error.value)


async def test_tokens_of_a_file_change_with_it(tmp_path: Path) -> None:
    """A second later the new ones hold; a file that is gone leaves the old ones."""
    path, clock = tmp_path / "tokens", Clock()
    path.write_text("one\ntwo # the second, as a Collector reads it\n")
    extension = bearer(clock, filename=str(path))
    await extension.start()
    await extension.authenticate({"authorization": "Bearer two"})
    assert await extension.headers() == {"authorization": "Bearer one"}
    path.write_text("three\n")
    clock.now_s += 1
    await extension.authenticate({"authorization": "Bearer three"})
    with pytest.raises(Unauthenticated):
        await extension.authenticate({"authorization": "Bearer two"})
    path.unlink()
    clock.now_s += 1
    await extension.authenticate({"authorization": "Bearer three"})
    path.write_text("\n")
    clock.now_s += 1
    with pytest.raises(CannotTell):
        await extension.authenticate({"authorization": "Bearer three"})
    path.write_text("four")
    clock.now_s += 1
    await extension.authenticate({"authorization": "Bearer four"})


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (BearerTokenConfig, {}, "no token"),
        (BearerTokenConfig, {"token": "a", "tokens": ["b"]}, "not both"),
        (BearerTokenConfig, {"token": "a\nb"}, "no token can have"),
        (BearerTokenConfig, {"token": "a b"}, "has blanks"),
        (BasicAuthConfig, {}, "either htpasswd"),
        (BasicAuthConfig, {"htpasswd": {}}, "no users"),
        (BasicAuthConfig, {"htpasswd": {"inline": "nonsense"}}, "line 1 is not"),
        (BasicAuthConfig, {"htpasswd": {"inline": "u:$apr1$x$y"}}, "htpasswd -B"),
        (BasicAuthConfig, {"htpasswd": {"inline": "u:$6$salt$hash"}}, "hash of another kind"),
        (BasicAuthConfig, {"htpasswd": {"inline": "u:{SSHA}aGFzaA=="}}, "hash of another kind"),
        (BasicAuthConfig, {"htpasswd": {"inline": "u:$2b$12$short"}}, "not whole"),
        (BasicAuthConfig, {"htpasswd": {"inline": "u:"}}, "everybody would be let in"),
        (BasicAuthConfig, {"client_auth": {}}, "no username"),
        (OidcConfig, {"issuer_url": "http://example.com", "audience": "a"}, "not an https URL"),
        (OidcConfig, {"issuer_url": "https://example.com"}, "audience is missing"),
    ],
)
def test_mistakes_are_said_at_validation(model: Any, config: dict[str, Any], message: str) -> None:
    """And the message has no secret."""
    with pytest.raises(pydantic.ValidationError, match=message):
        model.model_validate(config)


async def test_missing_file_ends_the_start(tmp_path: Path) -> None:
    """It names the file."""
    for extension in (
        bearer(filename=str(tmp_path / "no")),
        basic(htpasswd={"file": str(tmp_path / "no")}),
    ):
        with pytest.raises(ValueError, match=r"cannot use .*no: No such file"):
            await extension.start()


HASHES = {
    "bcrypt": "$2y" + bcrypt.hashpw(b"pass:word", bcrypt.gensalt(4)).decode()[3:],
    "sha1": "{SHA}" + base64.b64encode(hashlib.sha1(b"pass:word").digest()).decode(),
    "plain": "pass:word",
}


@pytest.mark.parametrize("kind", list(HASHES))
async def test_basic_auth_knows_the_hashes_of_htpasswd(kind: str, tmp_path: Path) -> None:
    """The right password passes, twice (the second time from memory); others do not."""
    path = tmp_path / "users"
    path.write_text(f"# users\nalice:{HASHES[kind]}\n")
    extension = basic(htpasswd={"file": str(path)})
    await extension.start()
    for _ in range(2):
        await extension.authenticate(userpass("alice", "pass:word"))
    for headers in (
        userpass("alice", "password"), userpass("bob", "pass:word"), userpass("alice", ""), {},
        {"authorization": "Basic !!!"}, {"authorization": "Basic " + "A" * 9000}, {"authorization": "Bearer x"},
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            await extension.authenticate(headers)


@pytest.mark.parametrize("given", ["Basic \udcff", "Basic ü", "Basic /w==", "Basic " + "A" * 5])
async def test_what_is_no_text_is_nobody(given: str) -> None:
    """And no fault of ours."""
    with pytest.raises(Unauthenticated):
        await basic(htpasswd={"inline": "alice:pass"}).authenticate({"authorization": given})


async def test_comparing_passwords_leaves_the_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, once for requests that come together, as long for users who are not there."""
    compared: list[bytes] = []

    def checkpw(password: bytes, _known: bytes) -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        compared.append(password)
        return password == b"right"

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    extension = basic(htpasswd={"inline": f"alice:{HASHES['bcrypt']}"})
    await asyncio.gather(*(extension.authenticate(userpass("alice", "right")) for _ in range(10)))
    assert compared == [b"right"]
    with pytest.raises(Unauthenticated):
        await extension.authenticate(userpass("bob", "right"))
    assert compared == [b"right", b"right"]
    guesses = (extension.authenticate(userpass("alice", str(guess))) for guess in range(100))
    outcomes = Counter(type(one) for one in await asyncio.gather(*guesses, return_exceptions=True))
    assert outcomes == {Unauthenticated: 64, CannotTell: 36}


async def test_basic_auth_to_a_backend(tmp_path: Path) -> None:
    """From the configuration, or from files."""
    (tmp_path / "p").write_text("s3cret\n")
    assert await basic(client_auth={"username": "u", "password": "s3cret"}).headers() == userpass("u", "s3cret")
    given = {"username": "u", "password_file": str(tmp_path / "p")}
    assert await basic(client_auth=given).headers() == userpass("u", "s3cret")


# -- OpenID Connect --

ISSUER = "https://issuer.example"


class Issuer:
    """An issuer with one key, which may be rolled."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False
        self.roll("first")

    def roll(self, name: str) -> None:
        """Use a new key."""
        self.name, self.key = name, ec.generate_private_key(ec.SECP256R1())

    async def fetch(self, url: str) -> bytes:
        """Answer like an issuer."""
        self.asked.append(url)
        if self.away:
            raise aiohttp.ClientConnectionError("refused")
        if url.endswith("openid-configuration"):
            return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}).encode()
        public = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(
            self.key.public_key(), as_dict=True
        )
        return json.dumps({"keys": [{**public, "kid": self.name, "alg": "ES256"}, {"kty": "?"}, 7]}).encode()

    def token(self, algorithm: str = "ES256", key: Any = None, **claims: Any) -> dict[str, str]:
        """Return the header of a client with a token of this issuer."""
        content = {"iss": ISSUER, "aud": "spanledger", "exp": 4_000_000_000, **claims}
        made = jwt.encode(content, key or self.key, algorithm, headers={"kid": self.name})
        return {"authorization": f"Bearer {made}"}


async def oidc(issuer: Issuer, clock: Clock | None = None) -> OidcAuth:
    """Return the extension, started."""
    config = OidcConfig.model_validate({"issuer_url": ISSUER, "audience": "spanledger"})
    extension = OidcAuth(config, host("oidc", clock), fetch=issuer.fetch)
    await extension.start()
    return extension


async def test_token_of_the_issuer_passes() -> None:
    """Its keys are asked for once."""
    issuer = Issuer()
    extension = await oidc(issuer)
    for _ in range(3):
        await extension.authenticate(issuer.token())
    assert len(issuer.asked) == 2


@pytest.mark.parametrize(
    "forged",
    [
        lambda issuer: issuer.token(aud="another"),
        lambda issuer: issuer.token(iss="https://evil.example"),
        lambda issuer: issuer.token(exp=1_000_000_000),
        lambda issuer: issuer.token(key=ec.generate_private_key(ec.SECP256R1())),
        lambda issuer: issuer.token("HS256", key="x" * 64),
        lambda issuer: {"authorization": f"Bearer {jwt.encode({'iss': ISSUER}, '', 'none')}"},
        lambda _issuer: {"authorization": "Bearer nonsense"},
        lambda _issuer: {"authorization": "Bearer " + "x" * 20_000},
        lambda _issuer: {"authorization": "Bearer \udcff"},
        lambda _issuer: {"authorization": f"Bearer {base64.urlsafe_b64encode(b'[' * 9000).decode()}.e30.e30"},
        lambda issuer: issuer.token("RS256", key=rsa.generate_private_key(65537, 2048)),
        lambda _issuer: {},
    ],
    ids=[
        "audience",
        "issuer",
        "expired",
        "another key",
        "shared secret",
        "unsigned",
        "nonsense",
        "endless",
        "no text",
        "nested",
        "another algorithm",
        "none",
    ],
)
async def test_forged_token_does_not_pass(forged: Callable[[Issuer], dict[str, str]]) -> None:
    """And nothing but Unauthenticated comes out."""
    issuer = Issuer()
    extension = await oidc(issuer)
    with pytest.raises(Unauthenticated):
        await extension.authenticate(forged(issuer))


async def test_rolled_key_is_asked_for_but_not_too_often() -> None:
    """Tokens with unknown keys are no way to make us flood the issuer."""
    issuer, clock = Issuer(), Clock()
    extension = await oidc(issuer, clock)
    issuer.roll("second")
    with pytest.raises(Unauthenticated, match="does not have"):
        await extension.authenticate(issuer.token())
    assert len(issuer.asked) == 2
    clock.now_s += 10
    await extension.authenticate(issuer.token())
    assert len(issuer.asked) == 4


async def test_issuer_that_is_away_leaves_the_known_keys() -> None:
    """At the start it is no reason not to start; later its keys hold on."""
    issuer, clock = Issuer(), Clock()
    issuer.away = True
    extension = await oidc(issuer, clock)
    with pytest.raises(CannotTell, match="does not tell its keys"):
        await extension.authenticate(issuer.token())
    issuer.away = False
    clock.now_s += 10
    await extension.authenticate(issuer.token())
    issuer.away = True
    clock.now_s += 4000
    await extension.authenticate(issuer.token())


async def test_nobody_waits_for_keys_that_are_known() -> None:
    """An issuer that takes long to say them again holds up no request."""
    issuer, clock = Issuer(), Clock()
    extension = await oidc(issuer, clock)
    answered = asyncio.Event()

    async def slow(url: str) -> bytes:
        await answered.wait()
        return await issuer.fetch(url)

    extension._fetch = slow
    clock.now_s += 4000
    for _ in range(2):
        await extension.authenticate(issuer.token())
    assert extension._refreshing is not None
    answered.set()
    await extension._refreshing
    assert len(issuer.asked) == 4


async def test_keys_come_by_an_encrypted_way() -> None:
    """Whoever could answer in the issuer's place would decide who may send."""
    issuer = Issuer()

    async def fetch(url: str) -> bytes:
        return (await issuer.fetch(url)).replace(b"https://issuer.example/keys", b"http://issuer.example/keys")

    config = OidcConfig.model_validate({"issuer_url": ISSUER, "audience": "spanledger"})
    extension = OidcAuth(config, host("oidc"), fetch=fetch)
    await extension.start()
    assert extension.statistics() == {"keys": 0, "last_error": "its keys are not at an https URL"}


# -- on the wire --


async def test_receiver_takes_known_senders_only() -> None:
    """GRPC and HTTP; a stranger is answered before the body is read, and counted."""
    body = request(span(1)).SerializeToString()
    extensions = {BEARER: bearer(token="s3cret")}
    async with running(grpc_options=AUTH, http_options=AUTH, extensions=extensions) as otlp:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await otlp.export(body)
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await otlp.post(body))[0] == 401
        assert otlp.numbers.total("spanledger_refused_requests_total") == 2
        assert otlp.taken == []
        await otlp.export(body, metadata=(("authorization", "Bearer s3cret"),))
        headers = {"Content-Type": "application/x-protobuf", "Authorization": "Bearer s3cret"}
        assert (await otlp.post(body, headers=headers))[0] == 200
        assert len(otlp.taken) == 2


async def test_exporters_say_who_they_are() -> None:
    """Over both protocols, to a receiver that asks."""
    extensions = {BEARER: bearer(token="s3cret")}
    delivery = Delivery("traces", request(span(1)).SerializeToString(), 1, 0)
    async with running(grpc_options=AUTH, http_options=AUTH, extensions=extensions) as otlp:
        plain = {"endpoint": otlp.grpc_address, "tls": {"insecure": True}, **AUTH}
        exporters = (
            OtlpExporter(OtlpConfig.model_validate(plain), host("otlp", extensions=extensions)),
            OtlpHttpExporter(
                OtlpHttpConfig.model_validate({"endpoint": otlp.http_url, **AUTH}),
                host("otlp_http", extensions=extensions),
            ),
        )
        for exporter in exporters:
            await exporter.start()
            await exporter.push(delivery)
            await exporter.shutdown(1e12)
        assert len(otlp.taken) == 2


async def test_pages_are_shown_to_known_readers_only() -> None:
    """401 with what to send, and nothing of the page."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="the page")

    app = web.Application()
    app.router.add_get("/", page)
    server = WebServer(app, "localhost:0", "key", auth=bearer(token="s3cret"))
    await server.open()
    url = f"http://{server.addresses[0]}/"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert (answer.status, "the page" in await answer.text()) == (401, False)
        async with session.get(url, headers={"Authorization": "Bearer s3cret"}) as answer:
            assert (answer.status, await answer.text()) == (200, "the page")
    await server.close()


# -- certificates that are replaced --


def serial(address: str) -> str:
    """Return the serial number of a server's certificate."""
    host_name, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host_name.strip("[]"), int(port)))
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, text=True, check=True
    )
    return shown.stdout


async def test_new_certificates_are_used_without_a_restart(tmp_path: Path) -> None:
    """By both protocols; a broken file leaves the old one."""
    made = make_certificates(tmp_path)
    tls = {"cert_file": str(made.server), "key_file": str(made.server_key), "reload_interval": "1ns"}
    async with running(grpc_options={"tls": tls}, http_options={"tls": tls}) as otlp:
        addresses = (otlp.grpc_address, otlp.http_url.removeprefix("http://"))
        first = [await asyncio.to_thread(serial, address) for address in addresses]
        await asyncio.to_thread(make_certificates, tmp_path)
        second = [await asyncio.to_thread(serial, address) for address in addresses]
        assert all(old != new for old, new in zip(first, second, strict=True))
        made.server.write_text("broken")
        assert [await asyncio.to_thread(serial, address) for address in addresses] == second


def test_half_of_a_pair_is_waited_for(tmp_path: Path) -> None:
    """A file that is gone for a moment is no change; an interval of 0 never looks."""
    clock, path = Clock(), tmp_path / "a"
    path.write_text("1")
    files = WatchedFiles([str(path)], 5, clock.monotonic)
    never = WatchedFiles([str(path)], 0, clock.monotonic)
    path.unlink()
    clock.now_s += 5
    assert not files.changed()
    path.write_text("22")
    assert not files.changed(), "it was looked at a moment ago"
    clock.now_s += 5
    assert (files.changed(), files.changed(), never.changed()) == (True, False, False)
    assert TLSServer(cert_file="c", key_file="k").reload_interval == 0


# -- configuration --

CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: "0.0.0.0:4317"AUTH}}}}
exporters: {debug: {}}
extensions: {bearertokenauth: {token: s3cret}, health_check: {}}
service: {extensions: [RUNNING], pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
"""


def config(auth: str, running_extensions: str) -> Any:
    """Load a configuration."""
    text = CONFIG.replace("AUTH", auth).replace("RUNNING", running_extensions)
    return load(["yaml:" + text], [], {})


def test_server_that_is_open_to_all_is_warned_about() -> None:
    """Not when somebody looks at who comes."""
    (warning,) = (each for each in config("", "").warnings if "takes everybody" in each)
    assert "receivers::otlp::protocols::grpc::endpoint: listens on 0.0.0.0:4317, where" in warning
    named = config(", auth: {authenticator: bearertokenauth}", "bearertokenauth")
    assert not [each for each in named.warnings if "takes everybody" in each]


@pytest.mark.parametrize(
    ("authenticator", "extensions", "message"),
    [
        ("bearertokenauht", "bearertokenauth", "did you mean bearertokenauth"),
        ("bearertokenauth", "", "add it to service::extensions"),
        ("health_check", "health_check", "offers no server authentication"),
    ],
)
def test_reference_to_an_extension_is_checked(authenticator: str, extensions: str, message: str) -> None:
    """With the place and what to do."""
    from spanledger.service.confmap import InvalidConfig

    with pytest.raises(InvalidConfig) as error:
        config(f", auth: {{authenticator: {authenticator}}}", extensions)
    (found,) = error.value.errors
    assert message in str(found)
    assert "receivers::otlp::protocols::grpc::auth::authenticator" in str(found)


def test_extension_that_others_need_is_there_before_them() -> None:
    """Whichever is named first: pages whose readers another extension knows."""
    text = CONFIG.replace("AUTH", "").replace("RUNNING", "health_check, bearertokenauth")
    pages = "extensions: {health_check: {status_auth: {authenticator: bearertokenauth}}}"
    found = load(["yaml:" + text, "yaml:" + pages], [], {})
    built = build(found, Surroundings(MetricTable(), view=object()))  # type: ignore[arg-type]

    started = [str(node) for node in built.nodes.values() if node.kind == "extension"]
    assert started == ["extension:bearertokenauth", "extension:health_check"]
