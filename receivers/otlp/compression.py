"""Compressed request bodies, never inflated beyond a limit.

The codecs stop as soon as the limit is passed, so a bomb costs no more memory than an honest request
of the largest size. They work without Python's global lock: run them on a thread when a body is large.
"""

from __future__ import annotations

import functools
import zlib
from typing import Final

from spanledger.processor.component import Rejected

HTTP_ENCODINGS: Final = ("gzip", "deflate", "zlib", "zstd", "identity")
"""What the HTTP transport takes in Content-Encoding."""

_GZIP_WBITS = 16 + zlib.MAX_WBITS
_ZSTD_MAX_WINDOW = 32 * 1024 * 1024
_END: Final = b"spanledger: end of the body\n" * 8


class TooLarge(Rejected):
    """The request is larger than the configured limit, compressed or not."""


class Damaged(Rejected):
    """The body is not what its encoding says."""


def inflate(encoding: str, body: bytes, limit: int) -> bytes:
    """Return `body` without its encoding, one of `HTTP_ENCODINGS` in lower case.

    Raises `TooLarge` beyond `limit` bytes, and `Damaged`.
    """
    if len(body) > limit:
        raise too_large(limit)
    if encoding in {"identity", ""}:
        return body
    if encoding == "zstd":
        return _inflate_zstd(body, limit)
    if encoding == "gzip":
        return _inflate_zlib(body, limit, _GZIP_WBITS, "gzip")
    # "deflate" should be the zlib format; some clients send the bare stream, as some browsers did.
    return _inflate_zlib(body, limit, zlib.MAX_WBITS if _has_zlib_header(body) else -zlib.MAX_WBITS, encoding)


def grpc_encoding(message: bytes) -> str:
    """Return the encoding of a gRPC message, told by its first bytes: gzip, deflate or identity.

    gRPC hands out compressed messages as they came (`grpc_server.py` says why) but not their flag.
    A request starts with the key of its first field, 0x0a; nothing valid starts like gzip (wire type
    7), and like zlib only a request that leads with an unknown field could: try, and fall back.
    """
    if message[:2] == b"\x1f\x8b":
        return "gzip"
    return "deflate" if _has_zlib_header(message) else "identity"


def too_large(limit: int) -> TooLarge:
    """Return the error for a request beyond `limit` bytes."""
    return TooLarge(f"the request is larger than {limit} bytes")


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 2 and body[0] & 0x0F == 8 and body[0] >> 4 <= 7 and (body[0] << 8 | body[1]) % 31 == 0


def _inflate_zlib(body: bytes, limit: int, wbits: int, name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    rest = body
    while rest:
        stream = zlib.decompressobj(wbits)
        try:
            # One byte more than allowed tells a body of exactly the limit from a larger one.
            part = stream.decompress(rest, limit + 1 - size)
        except zlib.error as error:
            raise Damaged(f"the body is not valid {name}: {error}") from error
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not stream.eof:
            raise Damaged(f"the body is not valid {name}: it ends too early")
        parts.append(part)
        rest = stream.unused_data if wbits == _GZIP_WBITS else b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate_zstd(body: bytes, limit: int) -> bytes:
    import zstandard  # few clients use it, and at rest it would be most of a MiB

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
    try:
        # The library does not say when a frame ends too early, so one of ours must come out behind it.
        stream = decompressor.stream_reader(body + _end_frame(), read_across_frames=True)
        inflated: bytes = stream.read(limit + len(_END) + 1)
    except zstandard.ZstdError as error:
        raise Damaged(f"the body is not valid zstd: {error}") from error
    if len(inflated) > limit + len(_END):
        raise too_large(limit)
    if not inflated.endswith(_END):
        raise Damaged("the body is not valid zstd: it ends too early")
    return inflated[: -len(_END)]


@functools.cache
def _end_frame() -> bytes:
    import zstandard

    return zstandard.compress(_END)
