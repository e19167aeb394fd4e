"""Errors of Beanie and the driver in Sillar's terms."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from beanie.exceptions import RevisionIdWasChanged

from sillar.engines.mongodb.errors import statement_error
from sillar.errors import DatabaseError, ParameterError, SerializationError
from sillar.integrations.beanie.route import BeanieRoute


class TranslatedErrors:
    """A block in which errors come as those of :mod:`sillar.errors`; ``with`` and ``async with`` alike.

    A changed revision (``RevisionIdWasChanged``) is a ``SerializationError``: read again, and try again. What is no
    error of the driver's, or has a place in Beanie alone (``DocumentNotFound``), passes as it is.
    """

    def __init__(self, database: str, route: BeanieRoute) -> None:
        self._database, self._route = database, route

    def __enter__(self) -> TranslatedErrors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, DatabaseError):
            return
        translated = self.translated(error)
        if translated is None:
            return
        translated.at(database=self._database)
        raise translated from None if isinstance(translated, ParameterError) else error

    async def __aenter__(self) -> TranslatedErrors:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def translated(self, error: BaseException) -> DatabaseError | None:
        """The error in Sillar's terms, or None where it has none there."""
        if isinstance(error, RevisionIdWasChanged):
            return SerializationError(
                "the document was changed by somebody else since it was read (use_revision); read it again and repeat"
            )
        failed: Any = getattr(error, "sillar_failed", None)
        return statement_error(
            error,
            node=self._route.client.address,
            collection="" if failed is None else failed.collection,
            safe_to_retry=failed is not None and failed.safe_to_retry,
            in_transaction=failed is not None and failed.in_transaction,
            failures=self._route.client.failures(),
        )
