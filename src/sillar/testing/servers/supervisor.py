"""The small process between a test run and one server: when the run dies, however it dies, so does the server.

It is started by file name with nothing but the standard library, which takes some 20 ms:

    python -I -S supervisor.py

The first line of its standard input is a JSON object (``argv``, ``runner``, …; not on the command line, where everybody
could read it). It prints ``pid N`` once the server's process exists, then obeys further lines: ``signal N main`` or
``signal N all`` (every process of the server), each answered by ``ok``. End of input, or the end of the process
``runner``, means: end the server, remove its folder, leave. Otherwise it leaves when the server does, with its exit
status (128 + N after signal N).

Linux only: subreaper and death signal (prctl(2)), pidfd_open(2).
"""

# ruff: noqa: T201, PTH123, PTH208, S606 - it speaks by print, and every import it does without makes it start sooner

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)


def execute(spec: dict[str, Any]) -> None:
    """Become the server. Runs in the forked child and does not return."""
    try:
        os.setsid()
        log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 256)
        os.umask(0o077)
        if spec["root"] is not None:
            os.chroot(spec["root"])
        if spec["uid"] is not None:
            os.setgroups([spec["gid"]])
            os.setgid(spec["gid"])
            os.setuid(spec["uid"])
        os.chdir(spec["directory"])
        # After the change of user, which clears it. For the case that this supervisor itself is killed.
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])
    except BaseException as error:  # a forked child must never go on as its parent
        os.write(2, f"cannot start {spec['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


class Supervisor:
    """Watches one server and everything that it forked."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.buffer = b""
        # Not by sys.stdin, whose own buffer would hide from poll() what it read ahead.
        while b"\n" not in self.buffer:
            received = os.read(0, 65536)
            if not received:
                sys.exit(1)
            self.buffer += received
        line, self.buffer = self.buffer.split(b"\n", 1)
        self.spec: dict[str, Any] = json.loads(line)

    def run(self) -> int:
        """Start the server, serve until it or the runner ends; returns the exit status."""
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        runner = os.pidfd_open(self.spec["runner"])
        if os.getppid() != self.spec["runner"]:
            return 1
        self.main = os.fork()
        if self.main == 0:
            execute(self.spec)
        server = os.pidfd_open(self.main)
        print(f"pid {self.main}", flush=True)
        poll = select.poll()
        for descriptor in (0, runner, server):
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while self.status is None:
            # The second is for orphans of the server, which come to this process and have to be reaped.
            for descriptor, _ in poll.poll(1000):
                if descriptor == runner or (descriptor == 0 and not self.obey()):
                    self.end()
                    return 0
            self.reap()
        self.kill_all()
        return self.status

    def obey(self) -> bool:
        """Read commands; False at the end of input."""
        received = os.read(0, 4096)
        self.buffer += received
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            _, number, whom = line.decode().split()
            self.reap()
            if whom == "all":
                self.signal_all(int(number))
            elif self.status is None:
                os.kill(self.main, int(number))
            with contextlib.suppress(BrokenPipeError):
                print("ok", flush=True)
        return bool(received)

    def end(self) -> None:
        """End the server: politely for a moment, because some leave shared memory behind otherwise; then by force."""
        self.signal_all(signal.SIGCONT)
        self.reap()
        if self.status is None:
            os.kill(self.main, self.spec["end_signal"])
        deadline = time.monotonic() + self.spec["grace_seconds"]
        while self.status is None and time.monotonic() < deadline:
            time.sleep(0.005)
            self.reap()
        self.kill_all()
        for folder in self.spec["remove"]:
            shutil.rmtree(folder, ignore_errors=True)

    def descendants(self) -> list[int]:
        """Every process below this one, the server's main process first."""
        parents: dict[int, list[int]] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                    # The command's name stands in parentheses and may hold anything.
                    fields = file.read().rpartition(b")")[2].split()
                    if fields[0] not in (b"Z", b"X"):
                        parents.setdefault(int(fields[1]), []).append(int(name))
        found = sorted(parents.get(os.getpid(), []), key=lambda pid: pid != self.main)
        for pid in found:
            found.extend(parents.get(pid, []))
        return found

    def signal_all(self, number: int) -> None:
        """Signal every process; again and again until none is new, as a server may fork meanwhile."""
        done: set[int] = set()
        while new := [pid for pid in self.descendants() if pid not in done]:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            done.update(new)

    def kill_all(self) -> None:
        """Kill what is left and wait until nothing is."""
        while True:
            self.signal_all(signal.SIGKILL)
            if not self.reap():
                return
            time.sleep(0.002)

    def reap(self) -> bool:
        """Collect exit statuses; returns whether children are left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self.main:
                    code = os.waitstatus_to_exitcode(status)
                    self.status = code if code >= 0 else 128 - code
        except ChildProcessError:
            return False


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(Supervisor().run())
