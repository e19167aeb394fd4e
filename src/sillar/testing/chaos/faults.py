"""What can be done to the nodes of a database while it works."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from sillar.errors import UsageError
from sillar.testing.faults import FaultProxy


@runtime_checkable
class Fault(Protocol):
    """Something that breaks, and is repaired again."""

    @property
    def name(self) -> str:
        """In a few words, for the table."""
        ...

    async def inject(self) -> None:
        """Break it."""
        ...

    async def heal(self) -> None:
        """Repair it."""
        ...


class Act:
    """A fault made of functions: an operator's act, something done to a process.

    Args:
        name: in a few words.
        inject: what breaks.
        heal: what repairs; None: nothing has to be.
    """

    def __init__(
        self,
        name: str,
        inject: Callable[[], Awaitable[Any]],
        heal: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self.name = name
        self._inject, self._heal = inject, heal

    async def inject(self) -> None:
        await self._inject()

    async def heal(self) -> None:
        if self._heal is not None:
            await self._heal()


class _ProxyFault:
    """A fault of the network before some nodes."""

    name: str

    def __init__(self, *proxies: FaultProxy) -> None:
        self._proxies = proxies

    async def heal(self) -> None:
        await asyncio.gather(*(proxy.heal() for proxy in self._proxies))


class BlackHole(_ProxyFault):
    """Connections stay open and new ones are taken, but no byte arrives: a partition."""

    name = "black hole"

    async def inject(self) -> None:
        for proxy in self._proxies:
            proxy.black_hole()


class Cut(_ProxyFault):
    """Every open connection breaks, once; new ones are taken."""

    name = "connections cut"

    async def inject(self) -> None:
        for proxy in self._proxies:
            proxy.reset()


class Refusal(_ProxyFault):
    """Every open connection breaks, and nobody listens any more."""

    name = "refused"

    async def inject(self) -> None:
        for proxy in self._proxies:
            await proxy.refuse()
            proxy.reset()


class Delay(_ProxyFault):
    """The network is slow.

    Args:
        proxies: before the nodes.
        seconds: that every chunk of bytes takes longer, each way, half of it as jitter.
    """

    name = "delay"

    def __init__(self, *proxies: FaultProxy, seconds: float) -> None:
        super().__init__(*proxies)
        self._seconds = seconds

    async def inject(self) -> None:
        for proxy in self._proxies:
            proxy.delay(self._seconds / 2, jitter_seconds=self._seconds / 2)


class CommandFault:
    """Commands of the user's, run by the shell.

    Args:
        inject_command, heal_command: command lines; None does nothing.
        timeout_seconds: how long one may take.
    """

    name = "command"

    def __init__(self, inject_command: str | None, heal_command: str | None, *, timeout_seconds: float = 60) -> None:
        self._inject, self._heal = inject_command, heal_command
        self._timeout = timeout_seconds

    async def inject(self) -> None:
        await self._run(self._inject)

    async def heal(self) -> None:
        await self._run(self._heal)

    async def _run(self, command: str | None) -> None:
        """Run it and wait.

        Raises:
            UsageError: it failed, or took too long; with the end of what it printed.
        """
        if command is None:
            return
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._timeout):
                printed, _ = await process.communicate()
        except TimeoutError:
            raise UsageError(f"the command {command!r} did not end within {self._timeout:g} s") from None
        finally:
            if process.returncode is None:  # also where who waits is cancelled
                os.killpg(process.pid, signal.SIGKILL)  # the shell and what it has begun
                await process.wait()
        if process.returncode:
            tail = printed.decode(errors="replace").strip()[-500:]
            raise UsageError(f"the command {command!r} ended with status {process.returncode}: {tail}")


class Together:
    """Several faults at once, under one name."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        self.name = name
        self._faults = faults

    async def inject(self) -> None:
        await asyncio.gather(*(fault.inject() for fault in self._faults))

    async def heal(self) -> None:
        await asyncio.gather(*(fault.heal() for fault in self._faults))
