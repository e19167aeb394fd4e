"""Ports for servers: free ones, below the range that outgoing connections use, and never the same for two test runs."""

from __future__ import annotations

import contextlib
import random
import socket

from sillar.testing.servers.errors import ServerStartError

HOST = "127.0.0.1"
LOWEST, HIGHEST = 20000, 32767


class PortReservation:
    """One TCP port of the loopback interface, kept from other test runs on this machine until it is released.

    What is held is a socket of that name in Linux' abstract namespace (unix(7)): it goes away with the process, so
    there is no file to clean up.
    """

    def __init__(self) -> None:
        for port in random.SystemRandom().sample(range(LOWEST, HIGHEST + 1), 200):
            name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with contextlib.suppress(OSError):
                name.bind(f"\0sillar-port-{port}")
                if _is_free(port):
                    self._name, self.port = name, port
                    return
            name.close()
        raise ServerStartError(
            f"200 ports between {LOWEST} and {HIGHEST} were tried and none is free; end other servers"
        )

    def release(self) -> None:
        """Let others have the port."""
        self._name.close()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
