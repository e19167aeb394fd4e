"""The transaction that an ``env.py`` has begun around its migrations."""

from __future__ import annotations

from sqlalchemy.engine import Connection, TwoPhaseTransaction

from sillar.errors import MigrationStateError


class SetAside:
    """The transaction that an ``env.py`` has begun, set aside: each migration has its own. What is done in it so far (a
    search path) is committed. Put back, it is there for whoever began it, to end it, and has nothing to commit.

    A connection that commits by itself (``isolation_level="AUTOCOMMIT"``) has transactions meanwhile.

    Raises:
        MigrationStateError: it has two phases.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transaction = connection._transaction
        self.manager = connection._trans_context_manager
        if isinstance(self.transaction, TwoPhaseTransaction):
            raise MigrationStateError(
                "env.py begins a transaction of two phases: each migration commits by itself, set USE_TWOPHASE = False"
            )
        if self.transaction is not None:
            connection.dialect.do_commit(connection.connection)
            connection._transaction = connection._trans_context_manager = None
        self.was_autocommit = connection._is_autocommit_isolation()
        if self.was_autocommit:
            connection.execution_options(isolation_level=connection.default_isolation_level)

    def put_back(self) -> None:
        connection = self.connection
        if connection.closed or connection.invalidated or (self.transaction is None and not self.was_autocommit):
            return
        connection.rollback()
        if self.was_autocommit:
            connection.execution_options(isolation_level="AUTOCOMMIT")
        connection._transaction, connection._trans_context_manager = self.transaction, self.manager


__all__ = ["SetAside"]
