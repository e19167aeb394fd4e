"""A stand-in for a replica set of several members: as many gateways over one PostgreSQL with DocumentDB."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType

from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions
from sillar.testing.servers.mongodb_gateway.replica_set import Member, ReplicaSet


class StandInReplicaSet:
    """Members that listen on ports of their own and run in this process, in the running event loop.

    It is no MongoDB: nobody votes and nothing is replicated, since all members have the same data. It shows what
    drivers do with secondaries, with times, and with a primary that changes. Use it in ``async with``.

    Args:
        options: of each member; the port is chosen.
        size: how many members; the first one is the primary.

    Attributes:
        state: what they share.
    """

    def __init__(self, options: GatewayOptions, size: int = 2) -> None:
        self.state = ReplicaSet()
        self._options = [replace(options, port=0, host="127.0.0.1", announce=None) for _ in range(size)]
        self._gateways: list[Gateway | None] = [None] * size
        for _ in range(size):
            Member(self.state)
        self.state.primary = self.state.members[0]

    @property
    def members(self) -> list[Member]:
        """In the order of their numbers."""
        return self.state.members

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of each member."""
        return [member.address for member in self.members]

    @property
    def url(self) -> str:
        """Of all members."""
        user = self._options[0].user
        login = f"{user}:{self._options[0].password}@" if user else ""
        return f"mongodb://{login}{','.join(self.addresses)}/sillar?replicaSet=sillar"

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> StandInReplicaSet:
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self.__aexit__)
            for number in range(len(self._options)):
                await self.start_member(number)
            stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in range(len(self._options)):
            await self.stop_member(number)

    async def start_member(self, number: int) -> None:
        """Let a member listen, on the port that it had before."""
        gateway = Gateway(self._options[number], self.members[number])
        self._gateways[number] = gateway
        await gateway.start()
        self._options[number] = gateway.options

    async def stop_member(self, number: int) -> None:
        """Close all its sockets, as if its machine were gone."""
        gateway, self._gateways[number] = self._gateways[number], None
        if gateway is not None:
            await gateway.close()

    # --- roles and times ----------------------------------------------------------------------------------------------

    async def step_down(self) -> None:
        """Have no primary: what writes is interrupted, and open transactions are aborted."""
        old, self.state.primary = self.state.primary, None
        if old is not None:
            await self._running(self.members.index(old)).leave_office()

    async def set_primary(self, number: int) -> None:
        """Have this member take over; it has everything that was acknowledged."""
        await self.step_down()
        await self.catch_up(number)
        self.state.term += 1
        self.state.primary = self.members[number]

    async def hold_back(self, number: int) -> None:
        """Let a member see nothing that is written from now on."""
        await self._running(number).hold_back()

    async def catch_up(self, number: int) -> None:
        """Let it see everything again."""
        await self._running(number).catch_up()

    def _running(self, number: int) -> Gateway:
        gateway = self._gateways[number]
        assert gateway is not None, f"member {number} is stopped"
        return gateway
