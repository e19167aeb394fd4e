"""The throwaway authority's certificates, read back by OpenSSL's own verifier."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from sillar.testing.servers import Certificate, CertificateAuthority, ServerCertificate


def verify(folder: Path, authority: CertificateAuthority, certificate: Certificate, *options: str) -> str:
    (folder / "ca.pem").write_bytes(authority.certificate)
    file, key = certificate.write(folder, "leaf")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    checked = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", folder / "ca.pem", *options, file],
        capture_output=True,
        text=True,
        check=False,
    )
    return "OK" if checked.returncode == 0 else checked.stderr


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (ServerCertificate.VALID, "OK"),
        (ServerCertificate.EXPIRED, "certificate has expired"),
        (ServerCertificate.WRONG_HOST, "IP address mismatch"),
    ],
)
def test_server_certificates(kind: ServerCertificate, outcome: str, tmp_path: Path) -> None:
    authority = CertificateAuthority()
    certificate = authority.issue_server(kind)
    assert outcome in verify(tmp_path, authority, certificate, "-purpose", "sslserver", "-verify_ip", "127.0.0.1")


def test_client_certificate_is_for_clients_only(tmp_path: Path) -> None:
    authority = CertificateAuthority()
    certificate = authority.issue("sillar", client=True)
    assert verify(tmp_path, authority, certificate, "-purpose", "sslclient") == "OK"
    assert verify(tmp_path, authority, certificate, "-purpose", "sslserver") != "OK"
    assert "BEGIN" not in repr(certificate)


def test_other_authority_does_not_verify(tmp_path: Path) -> None:
    certificate = CertificateAuthority().issue()
    assert "unable to get local issuer" in verify(tmp_path, CertificateAuthority("other"), certificate)
