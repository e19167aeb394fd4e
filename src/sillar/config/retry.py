"""How often, and after which pauses, something is run again that failed for a passing reason."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel


class RetryConfig(ConfigurationModel, frozen=True):
    """Retries of one database. All durations are in seconds; the deadline of the context holds besides.

    A pause is a random share of a ceiling that doubles each time (full jitter). During a failover it is not the pauses
    that wait but the acquisition of a connection, for ``connection_timeout`` of the pool at most.
    """

    attempts_max: int = Field(default=4, ge=1, le=1000)
    """How often a single statement outside a transaction runs at most; 1: no retries."""

    transaction_attempts_max: int = Field(default=10, ge=1, le=1000)
    """How often ``run_in_transaction`` runs a transaction at most; 1: no retries."""

    pause_initial: float = Field(default=0.05, gt=0)
    """Seconds that the first pause lasts at most; doubles each time."""

    pause_max: float = Field(default=2.0, gt=0)
    """Seconds that any pause lasts at most; not below ``pause_initial``."""

    resolution_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds spent at most on finding out what became of a COMMIT whose reply was lost, where that was asked for."""

    @field_validator("pause_max")
    @classmethod
    def _not_below_initial(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("pause_initial")
        if least is not None and value < least:
            raise fault(
                f"is below pause_initial ({least:g})", f"raise pause_max to {least:g} or lower pause_initial",
                value=value,
            )  # fmt: skip
        return value
