"""Several servers of the same data: which one is asked, how they are watched, how they are found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel

LoadBalancing = Literal["round_robin", "least_leased", "latency", "weighted", "zone"]
DefaultConsistency = Literal["eventual", "read_your_writes", "strong"]


class TopologyConfig(ConfigurationModel, frozen=True):
    """How the nodes of a database are used. It matters where there is more than one, or where they are discovered."""

    load_balancing: LoadBalancing = "least_leased"
    """Which replica a read goes to: ``round_robin``; ``least_leased``: the one with the fewest connections out;
    ``latency``: of two at random, the faster one; ``weighted``: in proportion to the nodes' ``weight``; ``zone``: the
    nodes of ``zone`` first."""

    zone: str | None = Field(default=None, min_length=1)
    """Where this process runs, as the nodes' ``zone`` names it."""

    reads_on_primary: bool = False
    """Whether the primary takes its share of the reads, too; it serves them anyway when no replica can."""

    consistency: DefaultConsistency = "read_your_writes"
    """What a read may count on where nothing else is said."""

    check_interval: float = Field(default=1.0, gt=0, le=60)
    """Seconds between two looks at each node."""

    check_timeout: float = Field(default=1.0, gt=0, le=60)
    """Seconds that a node has for the answer."""

    checks_failed_max: int = Field(default=2, ge=1)
    """Looks that may go unanswered in a row before the node counts as down; a refused connection counts at once."""

    discovery: Literal["none", "servers", "dns", "patroni"] = "none"
    """Where further nodes come from: ``servers``: the primary is asked for its replicas; ``dns``: every address of the
    configured hosts; ``patroni``: the REST interface at ``patroni_urls``."""

    discovery_interval: float = Field(default=10.0, gt=0)
    """Seconds between two looks for further nodes."""

    patroni_urls: tuple[str, ...] = ()
    """Addresses of Patroni's REST interface, such as ``http://db1:8008``; one that answers is enough."""

    @field_validator("patroni_urls")
    @classmethod
    def _are_needed(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("discovery") == "patroni" and not value:
            raise fault("is missing", "give the addresses of Patroni's REST interface, such as http://db1:8008",
                        absent=True)  # fmt: skip
        for url in value:
            if not url.startswith(("http://", "https://")):
                raise fault("has an address that is no http URL", "write http://host:8008", value=url)
        return value

    @field_validator("zone")
    @classmethod
    def _names_a_zone(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("load_balancing") == "zone":
            raise fault("is missing, and load_balancing is zone", "name the zone that this process runs in",
                        absent=True)  # fmt: skip
        return value
