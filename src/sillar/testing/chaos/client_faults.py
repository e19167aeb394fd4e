"""Faults between a client and its nodes, by name, and a configuration that leads through their proxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sillar.config import DatabaseConfig, NodeConfig
from sillar.errors import UsageError
from sillar.testing.chaos.faults import BlackHole, Cut, Delay, Fault, Refusal
from sillar.testing.faults import FaultProxy

_SIMPLE: Final[dict[str, Callable[..., Fault]]] = {"cut": Cut, "black-hole": BlackHole, "refuse": Refusal}
CLIENT_FAULTS: Final = (*_SIMPLE, "delay")
"""Names for :func:`client_fault`."""


def client_fault(name: str, proxies: Sequence[FaultProxy], *, delay_seconds: float = 0.2) -> Fault:
    """A fault of the network before some nodes.

    Args:
        name: one of :data:`CLIENT_FAULTS`.
        proxies: before these nodes.
        delay_seconds: of ``delay``.
    """
    return Delay(*proxies, seconds=delay_seconds) if name == "delay" else _SIMPLE[name](*proxies)


def takes_down(name: str) -> bool:
    """Whether nodes behind that fault cannot be reached any more."""
    return name in ("black-hole", "refuse")


def proxied(config: DatabaseConfig, database: str, proxies: Sequence[FaultProxy]) -> DatabaseConfig:
    """The configuration of one database, reached through proxies; TLS stays as it was, and nodes are not discovered.

    Args:
        config: of the real nodes.
        database: configured name; others are left out.
        proxies: one for each address, in their order.

    Raises:
        UsageError: it is no server behind TCP; or its certificates have to carry several names, which a connection to
            a proxy cannot check.
    """
    real = config.connection(database)
    addresses = real.addresses
    if not addresses or addresses[0].is_unix_socket:
        raise UsageError(f"database {database!r} is not reached by TCP, and no proxy can stand before it")
    tls = real.tls
    if tls.mode == "verify-full" and tls.server_hostname is None:
        names = {address.host for address in addresses}
        if len(names) > 1:
            raise UsageError(
                f"TLS with verify-full checks the names of {len(names)} hosts, and a proxy has none of them: set"
                " ssl_config.server_hostname to a name that all certificates carry, or mode verify-ca, for this run"
            )
        tls = tls.model_copy(update={"server_hostname": names.pop()})
    nodes = tuple(
        NodeConfig(host=proxy.host, port=proxy.port, role=at.role, weight=at.weight, zone=at.zone)
        for at, proxy in zip(addresses, proxies, strict=True)
    )
    topology = real.topology.model_copy(update={"discovery": "none"})
    before = real.model_copy(update={"host": None, "nodes": nodes, "ssl_config": tls, "topology": topology})
    return config.model_copy(update={"databases": {database: before}, "default_database": database})
