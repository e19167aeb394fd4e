"""When a node counts as failing, and how it is tried again."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel


class BreakerConfig(ConfigurationModel, frozen=True):
    """The circuit breaker of one node. All durations are in seconds.

    The defaults wait for a server that is restarted and open for one that stays away.
    """

    enabled: bool = True
    """Whether it opens by itself; by hand it can be opened and closed in any case."""

    window_calls: int = Field(default=50, ge=1, le=100_000)
    """How many of the last calls are looked at."""

    minimum_calls: int = Field(default=10, ge=1)
    """Calls without which no rate is taken; not above ``window_calls``."""

    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """Share of failed calls from which on it opens."""

    patience: float = Field(default=2.0, ge=0)
    """Seconds for which the rate has to stay that high, so that a short restart is waited for; 0 opens at once."""

    open_seconds: float = Field(default=1.0, gt=0)
    """Seconds for which it stays open the first time; doubles with each opening that follows, with jitter."""

    open_seconds_max: float = Field(default=30.0, gt=0)
    """Seconds for which it stays open at most; not below ``open_seconds``."""

    half_open_probes: int = Field(default=2, ge=1, le=1000)
    """Probes that all have to succeed before it closes; never more than these reach the node."""

    probe_timeout: float = Field(default=5.0, gt=0)
    """Seconds after which a probe that has not come back has failed."""

    @field_validator("minimum_calls")
    @classmethod
    def _within_window(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("window_calls")
        if most is not None and value > most:
            raise fault(
                f"is above window_calls ({most})", f"raise window_calls to {value} or lower minimum_calls", value=value
            )
        return value

    @field_validator("open_seconds_max")
    @classmethod
    def _not_below_first(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("open_seconds")
        if least is not None and value < least:
            raise fault(
                f"is below open_seconds ({least:g})", f"raise open_seconds_max to {least:g} or lower open_seconds",
                value=value,
            )  # fmt: skip
        return value
