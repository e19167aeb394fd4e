"""TLS: what can be set, what holds by default, and the context made of it."""

from __future__ import annotations

import ipaddress
import math
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from sillar.config.certificate import validity
from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel
from sillar.errors import ConfigurationError, ConfigurationFault

SSLMode = Literal["disable", "require", "verify-ca", "verify-full"]
_log = structlog.get_logger("sillar.tls")
_EARLY = timedelta(days=30)
_WARN_AGAIN_SECONDS = 3600.0
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


class _ClientContext(ssl.SSLContext):
    """A context that can verify a name of its own instead of the host that the driver connects to, and whose files may
    be renewed while it is in use: each handshake is made with what they hold then."""

    server_name: str | None = None
    files: _Files | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        name = self.server_name or server_hostname
        context = self.files.context(self) if self.files is not None else self
        return ssl.SSLContext.wrap_bio(context, incoming, outgoing, server_side, name, session)

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
        context = self.files.context(self) if self.files is not None else self
        return ssl.SSLContext.wrap_socket(
            context, sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, name, session
        )


class _Files:
    """The files of a context: noticed when they are renewed, kept in mind when the client certificate runs out.

    A file that cannot be used (half written, a key without its certificate) leaves the last good context in force.
    """

    def __init__(self, ssl_config: SSLConfig) -> None:
        self._ssl_config = ssl_config
        named = (ssl_config.ca_file, ssl_config.certificate_file, ssl_config.key_file)
        self._paths = [path for path in named if path is not None]
        self.watched = bool(self._paths)
        self._stamps = self._looked_at()
        self._renewed: ssl.SSLContext | None = None
        self._valid: tuple[datetime, datetime] | None = None
        self._warned_at = -math.inf
        self._read_validity()

    def context(self, first: ssl.SSLContext) -> ssl.SSLContext:
        """The context for a handshake now; ``first`` as long as nothing was renewed."""
        stamps = self._looked_at()
        if stamps != self._stamps:
            self._stamps = stamps
            files = [str(path) for path in self._paths]
            try:
                self._renewed = _built(self._ssl_config)
            except ConfigurationError as error:
                problems = "; ".join(fault.problem for fault in error.faults)
                _log.warning("renewed certificates not used, the last good ones are", files=files, error=problems)
            else:
                _log.info("renewed certificates in use", files=files)
                self._read_validity()
        if self._valid is not None:
            self._warn_of_the_end(*self._valid)
        return self._renewed or first

    def _looked_at(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]

    def _read_validity(self) -> None:
        file = self._ssl_config.certificate_file
        self._warned_at = -math.inf
        try:
            self._valid = None if file is None else validity(file.read_text(encoding="ascii", errors="replace"))
        except OSError:  # replaced this very moment: looked at again with its new stamp
            self._valid = None

    def _warn_of_the_end(self, begin: datetime, end: datetime) -> None:
        left, now = end - datetime.now(UTC), time.monotonic()
        if left > min(_EARLY, (end - begin) / 5) or now < self._warned_at + _WARN_AGAIN_SECONDS:
            return
        self._warned_at = now
        _log.warning(
            "client certificate has expired" if left < timedelta(0) else "client certificate expires soon",
            file=str(self._ssl_config.certificate_file),
            not_after=end.isoformat(),
            days_left=round(left / timedelta(days=1), 1),
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def ssl_context(ssl_config: SSLConfig) -> ssl.SSLContext | None:
    """The client context for ``ssl_config``; None for mode ``disable``.

    Keep it: it costs a millisecond and more to make, and it follows its files. When they are renewed, the next
    handshake uses what they hold then; while they cannot be used, it uses what they held before, and a warning is
    logged. So is the nearing end of the client certificate, from when a fifth of its life is left, 30 days at most.

    Raises:
        ConfigurationError: a file cannot be read as what it should be, or the passphrase of the key is wrong.
    """
    if ssl_config.mode == "disable":
        return None
    files = _Files(ssl_config)  # looked at before they are read: what is written meanwhile is read again
    context = _built(ssl_config)
    context.files = files if files.watched else None
    return context


def _built(ssl_config: SSLConfig) -> _ClientContext:
    context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)
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
