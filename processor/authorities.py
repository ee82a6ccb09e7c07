"""Whose certificates are trusted: those that a Collector trusts, on every Python.

Since 3.13 Python's own default refuses authorities that leave out what RFC 5280 asks of them, such as the key usage
that `openssl req -x509` does not write. Go's crypto/x509 takes them (`isValid`, `CheckSignatureFrom`: what is there
has to fit), as Python did before. And only since then is a certificate that was named as an authority one whoever
signed it, as it is in Go and gRPC. A certificate without alternative names is nobody's: Go reads no common name.
"""

from __future__ import annotations

import ssl


def default_context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, ca_file: str | None = None) -> ssl.SSLContext:
    """Return Python's default context with these rules. Raises OSError, of which `ssl.SSLError` is one."""
    context = ssl.create_default_context(purpose, cafile=ca_file)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    return context
