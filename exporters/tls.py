"""How exporters speak TLS, over HTTP (`ssl`) and gRPC."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from spanledger.processor.authorities import default_context

if TYPE_CHECKING:
    from spanledger.processor.settings import TLSClient


def ssl_context(tls: TLSClient) -> ssl.SSLContext:
    """Return the context of an HTTPS client. Raises ValueError naming the key and the file at fault."""
    try:
        context = default_context(ca_file=tls.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"tls::ca_file: cannot use {tls.ca_file}: {error}") from error
    tls.limit(context)
    if tls.cert_file:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"tls::cert_file, tls::key_file: cannot use {tls.cert_file} with {tls.key_file}: {error}"
            ) from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_passphrase() -> str:
    raise ValueError("tls::key_file: the key is encrypted; give one without a passphrase")


def channel_credentials(tls: TLSClient) -> grpc.ChannelCredentials:
    """Return the credentials of a gRPC channel. Raises ValueError like `ssl_context`."""
    # gRPC looks at the files only in the first handshake, and then says little: read them the strict way first.
    ssl_context(tls)
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca_file) or _system_roots(),
        private_key=_read(tls.key_file),
        certificate_chain=_read(tls.cert_file),
    )


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _system_roots() -> bytes | None:
    """Return the authorities that this machine trusts; gRPC by itself trusts only a list it brings along."""
    return _read(ssl.get_default_verify_paths().cafile or "")
