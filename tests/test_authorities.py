"""Whose certificates are trusted, in handshakes without a network."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from spanledger.processor.authorities import default_context

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
_AUTHORITY = "basicConstraints=critical,CA:TRUE\n"
_SERVER = "subjectAltName=DNS:localhost\n"


def authority(folder: Path, says: str) -> None:
    """Make an authority that says so of itself, as `ca.pem`."""
    (folder / "ca.cnf").write_text(f"[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{says}")
    openssl(folder, "req", "-x509", "-config", "ca.cnf", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem",
            *_KEY)  # fmt: skip


def signed(folder: Path, name: str, by: str, says: str) -> None:
    """Make a certificate that another one signed."""
    (folder / f"{name}.ext").write_text(says)
    openssl(folder, "req", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", *_KEY)
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip


def openssl(folder: Path, *arguments: str) -> None:
    """Run the command."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def meet(folder: Path, trusted: str) -> None:
    """Let a client and a server that both show `server.pem` meet; raises what either says of the other."""
    here = default_context(ca_file=str(folder / trusted))
    there = default_context(ssl.Purpose.CLIENT_AUTH, str(folder / trusted))
    there.verify_mode = ssl.CERT_REQUIRED
    for context in (here, there):
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
    forth, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = here.wrap_bio(back, forth, server_hostname="localhost")
    server = there.wrap_bio(forth, back, server_side=True)
    waiting = [client, server]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)


@pytest.mark.parametrize(
    "says",
    [
        _AUTHORITY,
        _AUTHORITY + "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\nkeyUsage=critical,keyCertSign\n",
        "basicConstraints=CA:TRUE\n",
    ],
)
def test_authority_may_leave_out_what_a_collector_does_not_ask_for(tmp_path: Path, says: str) -> None:
    """A key usage above all, which private authorities often lack; as clients and as servers."""
    authority(tmp_path, says)
    signed(tmp_path, "server", "ca", _SERVER)

    meet(tmp_path, "ca.pem")


def test_authority_may_be_signed_by_another(tmp_path: Path) -> None:
    """Who trusts only the authority of his department has no need of the company's."""
    authority(tmp_path, _AUTHORITY)
    signed(tmp_path, "department", "ca", _AUTHORITY)
    signed(tmp_path, "server", "department", _SERVER)

    meet(tmp_path, "department.pem")


@pytest.mark.parametrize(
    "says", ["basicConstraints=critical,CA:FALSE\n", _AUTHORITY + "keyUsage=critical,digitalSignature\n"]
)
def test_what_an_authority_says_of_itself_has_to_fit(tmp_path: Path, says: str) -> None:
    """No certificates from one that is no authority, or whose key is for other things."""
    authority(tmp_path, says)
    signed(tmp_path, "server", "ca", _SERVER)

    with pytest.raises(ssl.SSLCertVerificationError):
        meet(tmp_path, "ca.pem")


def test_others_are_not_trusted(tmp_path: Path) -> None:
    """Two authorities with the same name are two."""
    authority(tmp_path, _AUTHORITY)
    signed(tmp_path, "server", "ca", _SERVER)
    authority(tmp_path, _AUTHORITY)

    with pytest.raises(ssl.SSLCertVerificationError):
        meet(tmp_path, "ca.pem")


@pytest.mark.parametrize("says", ["subjectAltName=DNS:elsewhere\n", "keyUsage=digitalSignature\n"])
def test_a_name_has_to_fit_and_a_common_name_is_none(tmp_path: Path, says: str) -> None:
    """Whoever may sign certificates for one name may not be another."""
    authority(tmp_path, _AUTHORITY)
    signed(tmp_path, "localhost", "ca", says)
    for kind in ("pem", "key"):
        (tmp_path / f"localhost.{kind}").rename(tmp_path / f"server.{kind}")

    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"):
        meet(tmp_path, "ca.pem")
