"""What a policy says about a run of migrations: no downgrades here, only what was approved, nothing unsafe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sillar.config import MigrationPolicy
from sillar.errors import MigrationRefusedError, MigrationStateError


@dataclass(frozen=True, slots=True)
class Approval:
    """One line of a file of approvals.

    Attributes:
        version: the revision that may run.
        who: has approved it.
        note: date and comment, as they stand there.
    """

    version: str
    who: str
    note: str = ""


def read_approvals(file: Path) -> dict[str, Approval]:
    """The approvals in a file, by revision: ``REVISION who [date] [comment]`` in each line; ``#`` begins a comment.

    Raises:
        MigrationRefusedError: there is no such file, or a line does not say who.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationRefusedError(
            f"{file} cannot be read ({type(error).__name__}), and nothing runs without approval here: deploy the file"
            " of approvals, or take migration_config.policies.….approvals out"
        ) from error
    found: dict[str, Approval] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 1:
            raise MigrationRefusedError(
                f"{file}:{number} does not say who approved {words[0]}: write `{words[0]} name`"
            )
        found[words[0]] = Approval(words[0], words[1], " ".join(words[2:]))
    return found


@dataclass
class Gate:
    """Stands before the migrations of one database.

    Args:
        policy: what may be done.
        environment: where.

    Attributes:
        findings: of the safety lint, by version, where they refuse.
        examined: the versions that the lint has looked at; None: nobody minds.
    """

    policy: MigrationPolicy
    environment: str
    findings: dict[str, list[Any]] = field(default_factory=dict)
    examined: frozenset[str] | None = None

    def check(self, versions: Sequence[str], direction: str) -> None:
        """Called with what is about to run, again under the migrators' lock.

        Raises:
            MigrationRefusedError: the policy refuses.
            MigrationStateError: these are not the ones that were looked at.
        """
        if not versions:
            return
        if direction == "down":
            self.check_downgrade()
            return
        self._check_approvals(versions)
        self._check_findings(versions)
        unseen = [version for version in versions if self.examined is not None and version not in self.examined]
        if unseen:
            raise MigrationStateError(
                f"while this was waiting, somebody undid {', '.join(unseen)}, which was not looked at: run it again"
            )

    def check_downgrade(self) -> None:
        """See that something may be undone here.

        Raises:
            MigrationRefusedError: it may not.
        """
        if not self.policy.allow_downgrade:
            raise MigrationRefusedError(
                f"nothing may be undone in {self.environment!r}: write a migration that goes forward, or allow it in"
                f" migration_config.policies.{self.environment}.allow_downgrade"
            )

    def _check_findings(self, versions: Sequence[str]) -> None:
        found = [(version, finding) for version in versions for finding in self.findings.get(version, ())]
        if found:
            lines = "\n".join(f"  {version}: {finding}" for version, finding in found)
            raise MigrationRefusedError(
                f"the safety lint refuses this in {self.environment!r}; nothing was run:\n{lines}\nrewrite the"
                " migration as the remedies say, or acknowledge each finding in its file (docs/migration-recipes.md)",
                [finding for _, finding in found],
            )

    def _check_approvals(self, versions: Sequence[str]) -> None:
        file = self.policy.approvals
        if file is None:
            return
        approved = read_approvals(file)
        missing = [version for version in versions if version not in approved]
        if missing:
            raise MigrationRefusedError(
                f"nobody has approved {', '.join(missing)} for {self.environment!r}: add a line `{missing[0]} name` for"
                f" each to {file}, reviewed as your team does it; nothing was run",
                missing,
            )


__all__ = ["Approval", "Gate", "read_approvals"]
