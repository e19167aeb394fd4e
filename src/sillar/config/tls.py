"""TLS: what can be set, what holds by default, and the context made of it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel
from sillar.errors import ConfigurationError, ConfigurationFault

SSLMode = Literal["disable", "require", "verify-ca", "verify-full"]
TLSVersion = Literal["TLSv1.2", "TLSv1.3"]

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class SSLConfig(ConfigurationModel, frozen=True):
    """TLS of a connection. Giving one without ``mode`` asks for ``verify-full``."""

    mode: SSLMode = "verify-full"
    """``disable``, ``require`` (encrypts, checks nothing), ``verify-ca`` (certificate), ``verify-full`` (and name)."""

    ca_file: Path | None = None
    """PEM file of the authorities to trust; None: the system's."""

    certificate_file: Path | None = None
    """PEM file of the client certificate, with its chain."""

    key_file: Path | None = None
    """PEM file of the client's private key; None: it is in ``certificate_file``."""

    key_password: SecretStr | None = None
    """Passphrase of the private key."""

    minimum_version: TLSVersion | None = None
    """Lowest protocol version; None: ``security_config.minimum_tls_version``."""

    server_hostname: str | None = Field(default=None, min_length=1)
    """Name that the server's certificate must carry, where it is not the host that is connected to."""

    @field_validator("ca_file", "certificate_file", "key_file")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise fault("is not a file that exists", f"give the path of a PEM file (looked at {value.absolute()})",
                        value=str(value))  # fmt: skip
        return value

    @field_validator("ca_file")
    @classmethod
    def _is_used(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        mode = info.data.get("mode")
        if value is not None and mode in ("disable", "require"):
            raise fault(f"would not be used: mode {mode} checks no certificate",
                        "write mode verify-full or verify-ca, or remove ca_file", value=str(value))  # fmt: skip
        return value

    @field_validator("key_file")
    @classmethod
    def _has_a_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("certificate_file", value) is None:
            raise fault("is a key without its certificate", "give certificate_file as well", value=str(value))
        return value


def is_on_this_machine(host: str) -> bool:
    """Whether ``host`` is a loopback address, a name for it, or the path of a Unix socket. Looks nothing up."""
    name = host.strip("[]").rstrip(".").lower()
    if host.startswith("/") or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def default_ssl_mode(host: str) -> SSLMode:
    """The rule for every address, Redis included: ``verify-full`` off this machine, ``disable`` on it."""
    return "disable" if is_on_this_machine(host) else "verify-full"


class _NamedContext(ssl.SSLContext):
    """A context that can verify a name of its own instead of the host that the driver connects to."""

    server_name: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name or server_hostname, session)

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        name = self.server_name or server_hostname
        return super().wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, name, session)


def ssl_context(ssl_config: SSLConfig) -> ssl.SSLContext | None:
    """The client context for ``ssl_config``; None for mode ``disable``.

    Raises:
        ConfigurationError: a file cannot be read as what it should be, or the passphrase of the key is wrong.
    """
    if ssl_config.mode == "disable":
        return None
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = ssl_config.server_hostname
    context.minimum_version = _VERSIONS[ssl_config.minimum_version or "TLSv1.2"]
    context.check_hostname = ssl_config.mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if ssl_config.mode == "require" else ssl.CERT_REQUIRED
    if context.verify_mode is ssl.CERT_REQUIRED:
        _trust(context, ssl_config.ca_file)
    if ssl_config.certificate_file is not None:
        _present(context, ssl_config.certificate_file, ssl_config)
    return context


def _trust(context: ssl.SSLContext, ca_file: Path | None) -> None:
    if ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise _refused("ca_file", f"{ca_file} cannot be read as certificates in PEM form: {error}",
                       "give a PEM file of the authorities to trust") from error  # fmt: skip


def _present(context: ssl.SSLContext, certificate_file: Path, ssl_config: SSLConfig) -> None:
    password = ssl_config.key_password
    try:
        # An empty passphrase is refused by OpenSSL; without the callable it would ask on the terminal.
        context.load_cert_chain(certificate_file, ssl_config.key_file,
                                password=lambda: password.get_secret_value() if password else "")  # fmt: skip
    except (OSError, ValueError) as error:
        raise _refused("certificate_file", f"{certificate_file} and its key cannot be used: {error}",
                       "give a certificate and the key that belongs to it in PEM form, and key_password if the key is "
                       "encrypted") from error  # fmt: skip


def _refused(field: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([ConfigurationFault(f"ssl_config.{field}", "SSLConfig", problem, remedy)])
