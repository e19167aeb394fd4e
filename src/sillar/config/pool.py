"""Limits and timeouts of a connection pool."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from sillar.config.breaker import BreakerConfig
from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel


class ConnectionPoolConfig(ConfigurationModel, frozen=True):
    """One pool per node of a database. All durations are in seconds."""

    min_connections: int = Field(default=1, ge=0)
    """Connections kept open even when nobody uses them."""

    max_connections: int = Field(default=10, ge=1, le=100_000)
    """Connections open at most, dedicated ones (LISTEN, advisory locks) included."""

    connection_timeout: float = Field(default=5.0, gt=0)
    """Seconds a caller waits for a connection before ``PoolTimeoutError``."""

    idle_timeout: float = Field(default=600.0, gt=0)
    """Seconds after which an unused connection above ``min_connections`` is closed."""

    max_lifetime: float = Field(default=1800.0, gt=0)
    """Seconds after which a connection is replaced, however busy it is."""

    max_lifetime_jitter: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of ``max_lifetime`` by which each connection's own lifetime is shortened at random, 0 to below 1."""

    validate_after_idle: float = Field(default=1.0, ge=0)
    """Seconds without use after which a connection is validated before it is handed out; 0 validates always."""

    waiting_max: int = Field(default=1000, ge=0)
    """Callers that may wait at once; one more gets ``PoolExhaustedError`` immediately."""

    queue_target: float | None = Field(default=2.0, gt=0)
    """Seconds of waiting that are bearable. When nobody is served sooner for ``queue_interval``, callers for whom it
    would take longer get ``OverloadedError`` at once until the load goes, those of low priority first; None: off."""

    queue_interval: float = Field(default=1.0, gt=0)
    """Seconds for which the shortest wait has to be above ``queue_target``."""

    handshakes_max: int = Field(default=2, ge=1)
    """Connections that may be in the middle of being opened at once."""

    connect_timeout: float = Field(default=10.0, gt=0)
    """Seconds that opening one connection may take, TLS and authentication included."""

    backoff_initial: float = Field(default=0.1, gt=0)
    """Seconds before the second attempt after a failed connect; doubles with each failure, with jitter."""

    backoff_max: float = Field(default=10.0, gt=0)
    """Seconds between attempts at most; not below ``backoff_initial``."""

    leak_detection: float | None = Field(default=None, gt=0)
    """Seconds after which a lease that was not released is reported with the place that took it; None: off."""

    drain_timeout: float = Field(default=10.0, ge=0)
    """Seconds that closing the pool waits for leased connections before it closes them under their holders."""

    on_unavailable: Literal["fail", "wait"] = "fail"
    """When the first connection cannot be opened: ``fail`` raises at start-up, ``wait`` starts and keeps trying."""

    breaker: BreakerConfig = Field(default_factory=BreakerConfig)
    """When the node counts as failing, so that callers are refused at once instead of waiting for it."""

    @field_validator("max_connections")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_connections")
        if least is not None and value < least:
            raise fault(
                f"is below min_connections ({least})", f"raise max_connections to {least} or lower min_connections",
                value=value,
            )  # fmt: skip
        return value

    @field_validator("backoff_max")
    @classmethod
    def _not_below_initial(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("backoff_initial")
        if least is not None and value < least:
            raise fault(
                f"is below backoff_initial ({least:g})", f"raise backoff_max to {least:g} or lower backoff_initial",
                value=value,
            )  # fmt: skip
        return value
