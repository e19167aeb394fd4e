"""What the ORM cases have to know of the engine that several ORMs share."""

from __future__ import annotations

from dataclasses import dataclass

from sillar.testing.conformance.subject import ConformanceSubject


@dataclass(frozen=True)
class ORMEngine:
    """One engine on one server.

    Attributes:
        subject: the same as the cases for engines see it.
        backend_id: a query for the id of the server's session; empty where there are no sessions, or no SQL.
        transaction_id: a query for the id of the open transaction, where the server tells it.
        session_settings: a query for one row of what a session must have unchanged when it is lent again.
        disturbances: statements that change these settings for good; no transaction undoes them.
    """

    subject: ConformanceSubject
    backend_id: str = ""
    transaction_id: str = ""
    session_settings: str = ""
    disturbances: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Shown in the ids of tests."""
        return self.subject.name
