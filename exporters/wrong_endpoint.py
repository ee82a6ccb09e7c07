"""What a failed connection says about the endpoint that was configured, in words that lead on."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from spanledger.exporters.text import printable

_UNTRUSTED: Final = (
    re.compile(r"CERTIFICATE_VERIFY_FAILED"),
    "the peer's certificate is not trusted; name its authority in tls::ca_file",
)
_HINTS: Final[dict[Literal["grpc", "http"], tuple[tuple[re.Pattern[str], str], ...]]] = {
    "grpc": (
        (re.compile(r"WRONG_VERSION_NUMBER"), "the peer does not speak TLS? set tls::insecure: true"),
        (re.compile(r"http1\.x server"), "this looks like an HTTP port; use the otlp_http exporter"),
        _UNTRUSTED,
    ),
    "http": (
        # The first frame of HTTP/2: SETTINGS, with its length before it.
        (re.compile(r"b'\\x00\\x00.\S*?\\x04\\x00"), "this looks like a gRPC port; use the otlp exporter"),
        (re.compile(r"WRONG_VERSION_NUMBER"), "the peer does not speak TLS? write http:// in the endpoint"),
        _UNTRUSTED,
    ),
}
_NOISE: Final = re.compile(r" ssl:(?:default|True|False|None|<[^>]*>)")
_BRACKETS: Final = (("%5B", "["), ("%5D", "]"))


def plain(text: str, protocol: Literal["grpc", "http"]) -> str:
    """Return a library's error as one safe line, with what to do about it where that is known."""
    hint = next((hint for pattern, hint in _HINTS[protocol] if pattern.search(text[:4000])), "")
    for quoted, bracket in _BRACKETS:
        text = text.replace(quoted, bracket)
    shown = printable(_NOISE.sub("", text))
    return f"{hint} ({shown})" if hint else shown


def without_secrets(url: str) -> str:
    """Return a URL as logs may show it: without user and password, and without its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
