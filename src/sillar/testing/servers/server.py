"""What every throwaway server can do: start, stop, kill, freeze, thaw, restart."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import signal
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import unquote, urlsplit

from sillar.errors import UsageError
from sillar.testing.servers.errors import ServerNotOursError, ServerStartError
from sillar.testing.servers.folder import RunFolder, keep_log
from sillar.testing.servers.installation import Installation
from sillar.testing.servers.port import HOST, PortReservation
from sillar.testing.servers.process import Identity, Process

if TYPE_CHECKING:
    from sillar.testing.servers.certificates import CertificateAuthority, ServerCertificate

START_ATTEMPTS = 3
LOG_TAIL_BYTES = 6000


class Server(abc.ABC):
    """One throwaway server on a free loopback port, in a private folder; gone when this test run is, however it ends.

    As an async context manager it starts, and at the end it is killed and its folder removed.

    Args:
        settings: the server's own settings, which win over the defaults (these favour speed over safety of the data).
        tls: serve TLS with a throwaway certificate: True for a valid one, or the kind that is wanted.
        own: never use the server that the environment names: needed to stop, freeze or kill it. Asking for ``settings``
            or ``tls`` implies it.

    Attributes:
        host, port: where it listens.
        version: what the running server says.
        how_found: in words: the environment variable, or where the binaries are.
        is_external: it was given by the environment, so it is not ours to stop.
        log: the file with all that it printed (None for an external one).
        ca_file: the certificate authority to verify it with (None without TLS).
    """

    product: ClassVar[str]
    system_user: ClassVar[str]
    """As whom it runs when we are root."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL
    """What ends it for good. Force, unless the server leaves something behind then."""
    start_timeout_seconds: ClassVar[float] = 60
    poll_seconds: ClassVar[float] = 0.02
    """How often it is asked whether it is up; more rarely where the question itself is work for it."""

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
        own: bool = False,
    ) -> None:
        self.settings = dict(settings or {})
        self.host, self.port = HOST, 0
        self.version = ""
        self.ca_file: Path | None = None
        self._tls = tls
        self._authority: CertificateAuthority | None = None
        self._folder: RunFolder | None = None
        self._reservation: PortReservation | None = None
        self._process: Process | None = None
        self._ought_to_run = self._is_frozen = False
        self._log_offset = 0
        self._installation: Installation | None = None
        self._external_url = None if own or tls or settings else os.environ.get(self.url_variable)
        self.how_found = f"environment ({self.url_variable})" if self._external_url else ""

    # --- what each server has to say ---

    @property
    @abc.abstractmethod
    def url_variable(self) -> str:
        """The environment variable that may name a running server."""

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """The address for clients, with user, password and database where it has them."""

    @abc.abstractmethod
    def _find(self) -> Installation:
        """Look for the binaries."""

    @abc.abstractmethod
    async def _create(self) -> None:
        """Make the data folder before the first start."""

    @abc.abstractmethod
    def _command(self) -> list[str]:
        """The server's command line."""

    @abc.abstractmethod
    async def _ask_version(self) -> str:
        """Connect by the real protocol and ask the server for its version. Any exception means: not ready."""

    async def _populate(self) -> None:  # noqa: B027 - most have nothing to do
        """What is left to do once it has come up for the first time."""

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start it and wait until it answers; a stopped or killed one comes back with its data, on the same port.

        Raises:
            ServerNotFoundError: no binaries on this machine.
            ServerStartError: it did not come up; with the tail of its log.
            UsageError: it is running already.
        """
        if self._external_url is not None:
            await self._adopt(self._external_url)
            return
        if self._process is not None and self._process.returncode is None:
            raise UsageError(f"{self!r} is running already; stop it first, or call restart()")
        if self._folder is not None:
            await self._launch(may_move=False)
            return
        try:
            await self.locate()
            # Not on the event loop: what dead runs left behind is deleted first.
            self._folder = await asyncio.to_thread(RunFolder, self._binaries.temporary_folder)
            self._reserve_port()
            if self._tls:
                self._make_certificate()
            await self._create()
            await self._launch(may_move=True)
            await self._populate()
        except BaseException:
            await self.close()
            raise

    async def locate(self) -> None:
        """Find the server without starting it: ``version`` and ``how_found`` then say what start() would take.

        Raises:
            ServerNotFoundError: no binaries on this machine.
            ServerStartError: the one that the environment names does not answer.
        """
        if self._external_url is not None:
            await self._adopt(self._external_url)
            return
        # Looking asks binaries for their version: not on the event loop.
        self._installation = await asyncio.to_thread(self._find)
        self.version, self.how_found = self._installation.version, self._installation.how_found

    async def stop(self) -> None:
        """Shut it down in good order; its data stays for the next start()."""
        process = self._require_process("stop")
        self._ought_to_run = False
        await process.signal(signal.SIGCONT, everything=True)
        await process.signal(self.stop_signal)
        if await process.wait(30) is None:
            await self.kill()

    async def kill(self) -> None:
        """Kill all its processes at once (SIGKILL), as a power cut would; its data stays for the next start()."""
        process = self._require_process("kill")
        self._ought_to_run = False
        await process.signal(signal.SIGKILL, everything=True)
        await process.wait(30)

    async def restart(self) -> None:
        """Stop it in good order and start it again on the same port."""
        await self.stop()
        await self.start()

    async def revive(self) -> None:
        """Start it again if it does not run, thaw it if it is frozen; an external one is left alone."""
        if self.is_external:
            return
        if not self.is_running:
            await self.start()
        elif self._is_frozen:
            await self.thaw()

    async def freeze(self) -> None:
        """Stop all its processes from running (SIGSTOP): connections stay open and nothing answers."""
        process = self._require_process("freeze")
        self._is_frozen = True
        await process.signal(signal.SIGSTOP, everything=True)

    async def thaw(self) -> None:
        """Let a frozen server run on (SIGCONT)."""
        await self._require_process("thaw").signal(signal.SIGCONT, everything=True)
        self._is_frozen = False

    async def close(self) -> None:
        """End it for good and remove its folder. Does nothing to an external server. May be called again."""
        if self._process is not None:
            status = self._process.returncode
            if status is not None and self._ought_to_run:
                kept = keep_log(self._log, self.product)
                warnings.warn(f"{self!r} had ended by itself with status {status}; log: {kept}", stacklevel=2)
            self._ought_to_run = False
            self._process.end()
            await self._process.wait(30)
            self._process = None
        if self._folder is not None:
            await asyncio.to_thread(self._folder.remove)
            self._folder = None
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    # --- what it looks like ---

    @property
    def is_external(self) -> bool:
        """Whether the environment named it."""
        return self._external_url is not None

    @property
    def is_running(self) -> bool:
        """Whether its process is there (a frozen one is)."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of its main process. Raises UsageError when it does not run."""
        return self._require_process("pid").pid

    @property
    def log(self) -> Path | None:
        """The file that gets all that it prints, or None."""
        return None if self._folder is None else self._log

    def client_certificate(self, name: str) -> tuple[Path, Path]:
        """A client certificate for that user, which the server's authority signed; returns the paths of it and its key.

        Raises:
            UsageError: it does not serve TLS.
        """
        if self._authority is None:
            raise UsageError(f"{self!r} has no certificate authority; make it with tls=True")
        return self._authority.issue(name, client=True).write(self._path, f"client-{name}")

    def __repr__(self) -> str:
        version = f" {self.version}" if self.version else ""
        found = f", {self.how_found}" if self.how_found else ""
        return f"<{type(self).__name__}{version} on {self.host}:{self.port}{found}>"

    # --- for the servers below ---

    @property
    def _path(self) -> Path:
        assert self._folder is not None, "asked for the folder before start()"
        return self._folder.path

    @property
    def _log(self) -> Path:
        return self._path / "server.log"

    @property
    def _binaries(self) -> Installation:
        assert self._installation is not None, "asked for the binaries before start()"
        return self._installation

    @property
    def _identity(self) -> Identity:
        return self._binaries.identity(self.system_user)

    @property
    def _environment(self) -> dict[str, str]:
        """Environment variables of the server's process."""
        return {}

    def _inside(self, path: Path) -> str:
        return self._identity.inside(path)

    def _make_folder(self, name: str) -> Path:
        """A folder below the private one that belongs to the server's user alone."""
        folder = self._path / name
        folder.mkdir()
        self._identity.give(folder)
        return folder

    def _reserve_port(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
        self._reservation = PortReservation()
        self.port = self._reservation.port

    def _make_certificate(self) -> None:
        # Here and not above: `install` and plain servers do without the package cryptography.
        from sillar.testing.servers.certificates import CertificateAuthority, ServerCertificate

        kind = self._tls if isinstance(self._tls, ServerCertificate) else ServerCertificate.VALID
        self._authority = self._authority or CertificateAuthority()
        self.ca_file = self._path / "ca.pem"
        self.ca_file.write_bytes(self._authority.certificate)
        self.ca_file.chmod(0o644)
        _, key = self._authority.issue_server(kind).write(self._path, "server")
        self._identity.give(key)

    def _tls_files(self) -> tuple[str, str, str]:
        """Authority, certificate and key, as the server sees them."""
        return (
            self._inside(self._path / "ca.pem"),
            self._inside(self._path / "server.pem"),
            self._inside(self._path / "server.key"),
        )

    def _require_process(self, action: str) -> Process:
        if self._external_url is not None:
            raise ServerNotOursError(
                f"{action}: {self.product} at {self.host}:{self.port} was given by {self.url_variable} and is not "
                f"ours; make it with own=True, or unset {self.url_variable}"
            )
        if self._process is None or self._process.returncode is not None:
            raise UsageError(f"{action}: {self!r} does not run; start() it first")
        return self._process

    async def _adopt(self, url: str) -> None:
        """Take the server that the environment names."""
        parts = urlsplit(url)
        try:
            self.host, self.port = parts.hostname or HOST, parts.port or 0
        except ValueError as error:
            raise UsageError(f"{self.url_variable} is no address: {error}") from None
        self._take_login(unquote(parts.username or ""), unquote(parts.password or ""), parts.path.lstrip("/"))
        try:
            self.version = await asyncio.wait_for(self._ask_version(), 10)
        except Exception as error:
            raise ServerStartError(
                f"{self.product} at {self.host}:{self.port}, named by {self.url_variable}, does not answer: "
                f"{type(error).__name__}: {error}; start it or unset {self.url_variable}"
            ) from error

    def _take_login(self, user: str, password: str, database: str) -> None:  # noqa: B027 - some have none
        """Note who the environment's address says we are."""

    async def _launch(self, *, may_move: bool) -> None:
        """Start the process and wait for it; on another port if somebody took this one meanwhile and it may move."""
        for attempt in range(1, START_ATTEMPTS + 1):
            self._log_offset = self._log.stat().st_size if self._log.exists() else 0
            self._is_frozen = False
            self._process = await Process.start(
                self._command(),
                identity=self._identity,
                log=self._log,
                environment=self._environment,
                directory=self._inside(self._path),
                end_signal=self.end_signal,
                remove=[self._path],
            )
            try:
                await self._await_ready(self._process)
            except ServerStartError:
                with contextlib.suppress(UsageError):
                    await self.kill()
                self._process.end()
                if not may_move or attempt == START_ATTEMPTS or "in use" not in self.log_tail():
                    raise
                self._reserve_port()
            else:
                self._ought_to_run = True
                return

    async def _await_ready(self, process: Process) -> None:
        started = time.monotonic()
        while True:
            try:
                self.version = await asyncio.wait_for(self._ask_version(), 10)
            except Exception as error:  # refused, starting up, no user yet: whatever a driver calls it
                last = error
            else:
                return
            status = process.returncode
            if status is not None:
                raise self._start_error(f"ended with status {status} before it answered") from last
            if time.monotonic() - started > self.start_timeout_seconds:
                raise self._start_error(
                    f"did not answer within {self.start_timeout_seconds:g} s ({type(last).__name__}: {last})"
                ) from last
            await asyncio.sleep(self.poll_seconds)

    def _start_error(self, what: str) -> ServerStartError:
        kept = keep_log(self._log, self.product)
        return ServerStartError(
            f"{self.product} ({self.how_found}) on port {self.port} {what}; whole log: {kept}\n{self.log_tail()}"
        )

    def log_tail(self) -> str:
        """The end of what it printed since its last start."""
        if self._folder is None or not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_offset, size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
