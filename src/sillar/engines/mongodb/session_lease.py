"""The session of the server that a lease holds: what its reads wait for, and up to when it has written."""

from __future__ import annotations

from pymongo.asynchronous.client_session import AsyncClientSession

from sillar.engines.connection import DriverConnection
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.private import read_after
from sillar.engines.mongodb.reading import UNKNOWN, Reading, WriteTime
from sillar.engines.mongodb.verbs import check_reads_only
from sillar.query.document import DocumentCommand


class SessionLease(DriverConnection[DocumentCommand]):
    """What a lease has of consistency.

    Args:
        client: the client.

    Attributes:
        database: the driver's, with the read preference of this lease.
        reads_only: its commands may go to a secondary, so that none of them may write.
        transaction_reads: its latest transaction is, or was, a read-only one.
    """

    __slots__ = ("_after", "_client", "_is_doubtful", "_session", "_was_used", "database", "reads_only",
                 "transaction_reads")  # fmt: skip

    def __init__(self, client: MongoDBClient) -> None:
        super().__init__(client.raw, address=client.address)
        self._client = client
        self._session: AsyncClientSession | None = None
        self.database = client.database
        self.reads_only = self._was_used = self._is_doubtful = False
        self._after: WriteTime | None = None
        self.transaction_reads = False

    def check(self, command: DocumentCommand) -> None:
        """Refuse what writes where nothing may.

        Raises:
            ReadOnlyError: it writes.
        """
        if self.reads_only or (self.transaction_reads and self.in_transaction):
            check_reads_only(command)

    @property
    def session(self) -> AsyncClientSession:
        """The driver's session, with the open transaction if there is one."""
        session = self._session
        if session is None:
            session = self._session = self._client.raw.start_session(causal_consistency=False)
            if self._after is not None:
                read_after(session, self._after.operation_time, self._after.cluster_time)
        return session

    def begin_reading(self, reading: Reading) -> None:
        """Read so until :meth:`end_reading`, and refuse to write."""
        self.reads_only = True
        if reading.preference is not None:
            self.database = self._client.reading(reading.preference, reading.staleness_seconds)
        if reading.after is not None:
            self._after = reading.after
            if self._session is not None:
                read_after(self._session, reading.after.operation_time, reading.after.cluster_time)

    def end_reading(self) -> None:
        """Be a connection as any other again."""
        self.reads_only = False
        self.database = self._client.database
        if self._after is not None:
            self._after = None
            if self._session is not None:
                read_after(self._session, None)

    def begin_writing(self) -> None:
        """Watch from now on whether something is written."""
        self._was_used = self._is_doubtful = False

    @property
    def written(self) -> WriteTime | None:
        """Up to when something was written since :meth:`begin_writing`; None where no command has run."""
        if not self._was_used:
            return None
        session = self._session
        if self._is_doubtful or session is None or session.operation_time is None:
            return UNKNOWN
        return WriteTime(session.operation_time, session.cluster_time)
