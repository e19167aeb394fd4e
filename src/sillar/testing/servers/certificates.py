"""A throwaway certificate authority, and the good and bad certificates that TLS tests need."""

from __future__ import annotations

import datetime
import enum
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_HOSTS = ("127.0.0.1", "localhost")


class ServerCertificate(enum.Enum):
    """Which certificate a server shows: one that verifies, or one that a careful client refuses."""

    VALID = "valid for 127.0.0.1 and localhost"
    EXPIRED = "expired yesterday"
    WRONG_HOST = "valid, but for the host elsewhere.example"


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A certificate with its private key, both as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write ``NAME.pem`` and ``NAME.key`` (readable by the owner alone); returns both paths."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        certificate.chmod(0o644)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


class CertificateAuthority:
    """A certificate authority that exists for the length of a test. Keys are on the curve P-256.

    Attributes:
        certificate: its own certificate as PEM, for clients to verify with.
    """

    def __init__(self, name: str = "sillar throwaway authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key, not_after_days=30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        name: str = "localhost",
        *,
        hosts: tuple[str, ...] = LOCAL_HOSTS,
        expired: bool = False,
        client: bool = False,
    ) -> Certificate:
        """Issue a certificate.

        Args:
            name: the common name; for a client the database user.
            hosts: names and addresses that it is valid for; a client's has none.
            expired: it ran out yesterday.
            client: for client authentication instead of server authentication.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            self._builder(subject, key, not_after_days=-1 if expired else 29)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if not client:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Certificate(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def issue_server(self, kind: ServerCertificate) -> Certificate:
        """Issue a server's certificate of that kind."""
        hosts = ("elsewhere.example",) if kind is ServerCertificate.WRONG_HOST else LOCAL_HOSTS
        return self.issue(hosts[-1], hosts=hosts, expired=kind is ServerCertificate.EXPIRED)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, not_after_days: int
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Well before now: clocks differ, and an expired certificate must have been valid once.
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=not_after_days))
            # Python 3.13 verifies strictly (RFC 5280, 4.2.1.1 and 4.2.1.2): both key identifiers have to be there.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
