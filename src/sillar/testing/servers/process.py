"""A server's process, or a command beside it, under its own supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sillar.testing.servers.errors import ServerCommandError

SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom, and seeing which files, a process runs.

    Attributes:
        uid, gid: the user, or None for oneself.
        root: the tree that it is confined to by chroot, or None.
    """

    uid: int | None = None
    gid: int | None = None
    root: Path | None = None

    @classmethod
    def of(cls, user: str, root: Path | None = None) -> Identity:
        """The server's usual user when we are root (PostgreSQL, MariaDB and MySQL refuse root), else oneself."""
        if os.geteuid() != 0:
            return cls(root=root)
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            entry = pwd.getpwnam("nobody")
        return cls(entry.pw_uid, entry.pw_gid, root)

    def inside(self, path: Path) -> str:
        """The path as the process sees it."""
        return str(path) if self.root is None else f"/{path.relative_to(self.root)}"

    def give(self, *paths: Path) -> None:
        """Make these files and folders the user's own, and nobody else's to read."""
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
            if self.uid is not None and self.gid is not None:
                os.chown(path, self.uid, self.gid)


class Process:
    """One running process with everything that it forks; ends with this test run at the latest.

    Attributes:
        pid: of the process itself (not of its supervisor).
    """

    def __init__(self, supervisor: subprocess.Popen[bytes], pid: int) -> None:
        self._supervisor = supervisor
        self.pid = pid

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        identity: Identity,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: str = "/",
        end_signal: signal.Signals = signal.SIGKILL,
        remove: Sequence[Path] = (),
    ) -> Process:
        """Start a program by its absolute path.

        Args:
            log: the file that gets its standard output and error, appended.
            environment: beside PATH and a UTF-8 locale, which is all it gets otherwise.
            directory: its working folder, as it sees it.
            end_signal: what ends it when this run ends; force follows after three seconds.
            remove: folders to remove when this run ends.
        """
        spec = {
            "argv": list(argv),
            "environment": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **(environment or {})},
            "directory": directory,
            "root": None if identity.root is None else str(identity.root),
            "uid": identity.uid,
            "gid": identity.gid,
            "log": str(log),
            "runner": os.getpid(),
            "end_signal": int(end_signal),
            "grace_seconds": 3,
            "remove": [str(folder) for folder in remove],
        }
        return await asyncio.to_thread(cls._start, json.dumps(spec), log)

    @classmethod
    def _start(cls, spec: str, log: Path) -> Process:
        # Its own session: Ctrl-C in a terminal reaches the test run alone, and the supervisor follows it.
        with log.open("ab") as errors:
            supervisor = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-I", "-S", str(SUPERVISOR)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        supervisor.stdin.write(f"{spec}\n".encode())
        supervisor.stdin.flush()
        answer = supervisor.stdout.readline().split()
        if len(answer) != 2:
            supervisor.wait()
            raise ServerCommandError(f"the supervisor did not start: see {log}")
        return cls(supervisor, int(answer[1]))

    @property
    def returncode(self) -> int | None:
        """The exit status (128 + N after signal N), or None while it runs."""
        return self._supervisor.poll()

    async def signal(self, number: signal.Signals, *, everything: bool = False) -> None:
        """Send a signal to the process, or to everything that it forked as well. Nothing happens if it has ended."""
        await asyncio.to_thread(self._signal, f"signal {int(number)} {'all' if everything else 'main'}\n".encode())

    def _signal(self, command: bytes) -> None:
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        if self._supervisor.stdin.closed:
            return
        try:
            self._supervisor.stdin.write(command)
            self._supervisor.stdin.flush()
        except BrokenPipeError:
            return
        self._supervisor.stdout.readline()

    async def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the end; returns the exit status, or None if it still runs after that time."""
        deadline = time.monotonic() + timeout_seconds
        # Polled: the servers of a test run outlive any one event loop.
        while self.returncode is None and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        if self.returncode is not None:
            self.end()
        return self.returncode

    def end(self) -> None:
        """Make the supervisor end it and remove its folders; returns at once, without waiting for that."""
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


async def run_command(
    argv: Sequence[str],
    *,
    identity: Identity,
    environment: Mapping[str, str] | None = None,
    directory: str = "/",
    timeout_seconds: float = 120,
) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        ServerCommandError: it failed or took too long; the message ends with its last lines.
    """
    with tempfile.NamedTemporaryFile(prefix="sillar-command-") as output:
        process = await Process.start(
            argv, identity=identity, log=Path(output.name), environment=environment, directory=directory
        )
        try:
            status = await process.wait(timeout_seconds)
        finally:
            process.end()
        await process.wait(10)
        printed = output.read().decode(errors="replace")
    if status != 0:
        what = f"failed with status {status}" if status is not None else f"did not end within {timeout_seconds:g} s"
        raise ServerCommandError(f"{Path(argv[0]).name} {what}:\n" + "\n".join(printed.splitlines()[-20:]))
    return printed
