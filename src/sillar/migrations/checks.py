"""What must hold before migrations are deployed, each check by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alembic.util import CommandError

from sillar.errors import MigrationFileError

if TYPE_CHECKING:
    from sillar.migrations.manager import MigrationManager


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: what is well if it is.
        is_well: whether it is.
        details: what is not, or why it was not looked at, one line each.
    """

    name: str
    is_well: bool
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What all checks found."""

    results: tuple[CheckResult, ...]

    @property
    def is_well(self) -> bool:
        """Whether every check is."""
        return all(result.is_well for result in self.results)

    def __getitem__(self, name: str) -> CheckResult:
        return {result.name: result for result in self.results}[name]

    def __str__(self) -> str:
        lines = []
        for result in self.results:
            lines.append(f"{'ok  ' if result.is_well else 'FAIL'}  {result.name}")
            lines += [f"        {detail}" for detail in result.details]
        return "\n".join(lines)


async def check(migrations: MigrationManager) -> CheckReport:
    """All checks that change nothing."""
    scripts = migrations.scripts
    current = await migrations.current()
    results = [_passed("single head", [f"{version} {scripts.get(version).name}" for version in scripts.unjoined()])]
    pending = scripts.pending(current)
    results.append(_passed("database is at head", [f"pending: {each.version} {each.name}" for each in pending]))
    edited = await migrations.edited()
    results.append(
        _passed(
            "applied migrations are unedited",
            [f"{version} was edited after it was applied: {scripts.get(version).place}" for version in edited],
        )
    )
    begun = await migrations.runner.interrupted()
    results.append(
        _passed("nothing is interrupted", [f"{version} was begun and not ended: run it again" for version in begun])
    )
    broken = await migrations.invalid_indexes()
    results.append(
        _passed("every index is valid", [f"{each} was not built to its end: build it again" for each in broken])
    )
    if pending:
        unknown = "not compared: apply what is pending first"
        results.append(CheckResult("models and database agree", False, (unknown,)))
    else:
        results.append(await models_agree(migrations))
    return CheckReport(tuple(results))


async def models_agree(migrations: MigrationManager) -> CheckResult:
    """Compare the models with a database that is at head."""
    name = "models and database agree"
    if not migrations.runner.has_models:
        return CheckResult(name, True, ("not compared: no models are named in migration_config.models",))
    try:
        return _passed(name, await migrations.runner.differences())
    except MigrationFileError as error:
        if isinstance(error.__cause__, CommandError) and "MetaData" in str(error):
            return CheckResult(name, True, ("not compared: no models are named in migration_config.models or env.py",))
        raise


def _passed(name: str, faults: Sequence[str]) -> CheckResult:
    return CheckResult(name, not faults, tuple(faults))


__all__ = ["CheckReport", "CheckResult", "check", "models_agree"]
