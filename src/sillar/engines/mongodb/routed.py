"""The driver's own databases, collections and cursors, whose commands take the way of Sillar's: for an ORM on it.

They are the driver's classes with the same behaviour and the same errors. What is different: a command runs where a
:class:`Route` leads it (in the transaction of the context, through the gate, under observation), and a cancelled one is
stopped on the server and not in the driver.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from datetime import tzinfo
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase

from sillar import errors
from sillar.engines.connection import DriverConnection
from sillar.engines.mongodb.client import Document, MongoDBClient
from sillar.engines.mongodb.connection import MongoDBConnection
from sillar.engines.mongodb.private import attach_session
from sillar.query.document import DocumentCommand

T = TypeVar("T")
Work = Callable[[AsyncClientSession], Coroutine[Any, Any, Any]]
"""Runs one command of the driver's in a session."""

_END_SECONDS: Final = 5.0
_under_way: ContextVar[bool] = ContextVar("sillar_mongodb_under_way", default=False)
"""Whether this task is a command that was led somewhere already: what the driver calls inside is part of it."""
_preference: ContextVar[Any] = ContextVar("sillar_mongodb_preference", default=None)
"""Which members serve the command of this task; None: as its collection says."""


class Hold(Protocol):
    """What a cursor keeps as long as it is open."""

    session: AsyncClientSession

    def run(self, command: DocumentCommand, work: Work) -> Awaitable[Any]:
        """Run a command of the cursor's."""
        ...

    async def finish(self, work: Work) -> None:
        """Close the cursor on the server; a caller that is cancelled does not wait for it."""
        ...

    def release(self) -> None:
        """The cursor is over."""
        ...


class Route(Protocol):
    """Where commands are led."""

    async def run(self, command: DocumentCommand, work: Work, session: AsyncClientSession | None) -> Any:
        """Run a command; ``session`` is what the caller gave."""
        ...

    async def hold(self, session: AsyncClientSession | None, command: DocumentCommand) -> Hold:
        """What a cursor needs that is about to be opened by this command."""
        ...


class Driven:
    """One command of the driver's, on its way down the pipeline: the operation of an execution.

    Args:
        work: runs it.

    Attributes:
        failure: the driver's own error, once it has failed; None for errors of Sillar's own.
    """

    __slots__ = ("_work", "failure")

    def __init__(self, work: Work) -> None:
        self._work = work
        self.failure: BaseException | None = None

    async def run(
        self, connection: DriverConnection[Any], command: DocumentCommand, timeout_seconds: float | None
    ) -> Any:
        """Run it on a lease, under the contract of the engine's own commands: gate, limits, cancellation.

        Raises:
            DatabaseError: the driver's error in Sillar's terms.
        """
        assert isinstance(connection, MongoDBConnection)
        limit = timeout_seconds or connection._client.statement_timeout
        try:
            connection.check(command)
            preference = connection.database.read_preference if connection.reads_only else None
            return await connection._drive(_marked(self._work, connection.session, preference), limit)
        except BaseException as error:
            if not isinstance(error, (errors.DatabaseError, asyncio.CancelledError)):
                self.failure = error
            connection._raise(error, command, limit)


async def drive_to_end(client: MongoDBClient, work: Work) -> None:
    """Run something of the driver's that goes on when its caller is cancelled."""
    connection = MongoDBConnection(client)
    await connection._drive(_marked(work, connection.session), _END_SECONDS, stoppable=False)
    await connection.close()


def guest(client: MongoDBClient, session: AsyncClientSession) -> MongoDBConnection:
    """A connection for one command in a session that somebody else has begun, and ends."""
    connection = MongoDBConnection(client)
    connection._session = session
    return connection


def index_model(keys: Sequence[tuple[str, Any]], options: Mapping[str, Any]) -> IndexModel:
    """The driver's description of an index: fields with direction or kind, in order; and options, ``name`` too."""
    return IndexModel(keys, **options)


def codec_options(tz_aware: bool, zone: tzinfo) -> CodecOptions[Document]:
    """The driver's own codec, without Sillar's additions: standard UUIDs, and times with or without a zone."""
    return CodecOptions(
        tz_aware=tz_aware, tzinfo=zone if tz_aware else None, uuid_representation=UuidRepresentation.STANDARD
    )


async def _marked(work: Work, session: AsyncClientSession, preference: Any = None) -> Any:
    _under_way.set(True)  # of this task alone
    _preference.set(preference)
    return await work(session)


# --- cursors ----------------------------------------------------------------------------------------------------------


class _Routed:
    """Batches of a cursor are led as commands are; between them it keeps a :class:`Hold`."""

    _route: Route
    _command: DocumentCommand
    _hold: Hold | None = None
    _given: AsyncClientSession | None = None
    _over = _left = False

    def keep(self, hold: Hold, given: AsyncClientSession | None) -> None:
        """Go on where the cursor was opened."""
        self._hold, self._given, self._over = hold, given, False
        if not cast(Any, self).cursor_id:
            self._let_go()

    async def _refresh(self) -> int:
        cursor: Any = super()
        this: Any = self
        if _under_way.get() or not this.alive:
            return cast(int, await cursor._refresh())
        if self._left:
            raise errors.UsageError("a call on this cursor was cancelled, which ended it; run the query again")
        hold = self._hold
        if hold is None:
            self._given = this.session
            hold = self._hold = await self._route.hold(self._given, self._command)
            self._over = False
            attach_session(this, hold.session)
        try:
            return cast(int, await hold.run(self._next_command(this.cursor_id), lambda _: cursor._refresh()))
        except asyncio.CancelledError:
            self._left = self._over = True
            raise
        finally:
            if self._over or not this.cursor_id:
                self._let_go()

    def _next_command(self, cursor_id: int | None) -> DocumentCommand:
        if cursor_id is None:
            return self._command
        return DocumentCommand(self._command.collection, cast(Any, "get_more"), {})

    async def close(self) -> None:
        cursor: Any = super()
        self._over = True
        hold = self._hold
        if _under_way.get() or hold is None or not cast(Any, self).cursor_id:
            await cursor.close()
            return
        try:
            await hold.finish(lambda _: cursor.close())
        finally:
            self._let_go()

    def _let_go(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.release()
            attach_session(self, self._given)

    def __del__(self) -> None:
        cast(Any, super()).__del__()  # has the driver close it on the server
        if self._hold is not None:
            self._hold.release()


class RoutedCursor(_Routed, AsyncCursor[Document]):
    """What ``find`` gives."""

    def __init__(self, collection: Any, *args: Any, **kwargs: Any) -> None:
        self._route = collection.sillar_route
        self._command = _Call(collection.name, "find", ("filter", "projection"), args, kwargs)
        super().__init__(collection, *args, **kwargs)


class RoutedCommandCursor(_Routed, AsyncCommandCursor[Document]):
    """What ``aggregate`` gives."""

    def __init__(self, collection: Any, *args: Any, **kwargs: Any) -> None:
        self._route = collection.sillar_route
        self._command = DocumentCommand(collection.name, "aggregate", {})
        super().__init__(collection, *args, **kwargs)


# --- collections and databases ----------------------------------------------------------------------------------------


class _Call(DocumentCommand):
    """What is observed of a call. Its arguments are put together when somebody asks for them."""

    __slots__ = ("_args", "_kwargs", "_names")

    def __init__(
        self, collection: str, verb: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.collection, self.verb = collection, cast(Any, verb)
        self._names, self._args, self._kwargs = names, args, kwargs

    @property
    def arguments(self) -> Mapping[str, Any]:  # type: ignore[override]  # read only here
        given = dict(zip(self._names, self._args, strict=False))
        given.update((name, value) for name, value in self._kwargs.items() if value is not None and name != "session")
        return given


def _led(owner: type[Any], name: str) -> Any:
    """The method of this name, its command led."""
    stock = getattr(owner, name)
    parameters = list(inspect.signature(stock).parameters)[1:]
    place = parameters.index("session")
    verb, names = _VERB_NAMES.get(name, name), tuple(parameters)

    @wraps(stock)
    async def method(self: Any, *args: Any, session: AsyncClientSession | None = None, **kwargs: Any) -> Any:
        if len(args) > place:  # the session by position
            kwargs.update(zip(parameters[place + 1 :], args[place + 1 :], strict=False))
            session, args = args[place], args[:place]
        if _under_way.get():
            return await stock(self, *args, session=session, **kwargs)

        def work(chosen: AsyncClientSession) -> Coroutine[Any, Any, Any]:
            return cast("Coroutine[Any, Any, Any]", stock(self, *args, session=chosen, **kwargs))

        collection = self.name if owner is AsyncCollection else ""
        return await self.sillar_route.run(_Call(collection, verb, names, args, kwargs), work, session)

    return method


_VERB_NAMES: Final = {"count_documents": "count", "drop": "drop_collection"}
_COLLECTION_METHODS: Final = (
    "bulk_write", "insert_one", "insert_many", "replace_one", "update_one", "update_many", "delete_one", "delete_many",
    "find_one_and_delete", "find_one_and_replace", "find_one_and_update", "count_documents", "distinct",
    "create_index", "create_indexes", "drop_index", "drop_indexes", "index_information", "options", "rename", "drop",
)  # fmt: skip
_DATABASE_METHODS: Final = ("command", "list_collection_names", "drop_collection")


class RoutedCollection(AsyncCollection[Document]):
    """A collection of a :class:`RoutedDatabase`."""

    @property
    def sillar_route(self) -> Route:
        """Where its commands are led."""
        return cast(RoutedDatabase, self.database).sillar_route

    def find(self, *args: Any, **kwargs: Any) -> RoutedCursor:
        return RoutedCursor(self, *args, **kwargs)

    async def aggregate(
        self, pipeline: Any, session: AsyncClientSession | None = None, *args: Any, **kwargs: Any
    ) -> AsyncCommandCursor[Document]:
        aggregate = super().aggregate
        if _under_way.get():
            return await aggregate(pipeline, session, *args, **kwargs)
        command = _Call(self.name, "aggregate", ("pipeline",), (pipeline,), kwargs)
        hold = await self.sillar_route.hold(session, command)
        try:
            cursor = await hold.run(command, lambda chosen: aggregate(pipeline, chosen, *args, **kwargs))
        except BaseException:
            hold.release()
            raise
        cursor.keep(hold, session)
        return cast("AsyncCommandCursor[Document]", cursor)

    def _read_preference_for(self, session: Any) -> Any:
        """Where the driver asks which members serve a read. What somebody has chosen for this collection stays."""
        preference = _preference.get()
        if preference is None or self.read_preference != self.database.read_preference:
            return super()._read_preference_for(session)
        return session._txn_read_preference() or preference

    async def _aggregate(self, *args: Any, **kwargs: Any) -> Any:
        """Where the driver names the class of the cursor."""
        aggregate: Any = super()._aggregate
        routed = (RoutedCommandCursor if each is AsyncCommandCursor else each for each in args)
        return await aggregate(*routed, **kwargs)

    def with_options(self, *args: Any, **kwargs: Any) -> Any:
        return self.database.get_collection(self.name, **_options_of(super().with_options(*args, **kwargs)))

    def __getitem__(self, name: str) -> RoutedCollection:
        full = f"{self.name}.{name}"
        return cast(RoutedCollection, self.database.get_collection(full, **_options_of(self)))


class RoutedDatabase(AsyncDatabase[Document]):
    """A database whose collections are :class:`RoutedCollection`.

    Args:
        client: the driver's.
        name: the database's.
        route: where commands are led.
        options: codec, read preference and concerns, as for the driver's own.
    """

    def __init__(self, client: AsyncMongoClient[Document], name: str, route: Route, **options: Any) -> None:
        super().__init__(client, name, **options)
        self._led_by = route

    @property
    def sillar_route(self) -> Route:
        """Where its commands are led."""
        return self._led_by

    def __getitem__(self, name: str) -> RoutedCollection:
        return RoutedCollection(self, name)

    def get_collection(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return RoutedCollection(self, name, False, *args, **kwargs)

    def with_options(self, *args: Any, **kwargs: Any) -> Any:
        return RoutedDatabase(
            self.client, self.name, self.sillar_route, **_options_of(super().with_options(*args, **kwargs))
        )

    async def create_collection(
        self, name: str, *args: Any, session: AsyncClientSession | None = None, **kwargs: Any
    ) -> Any:
        create: Any = super().create_collection
        command = _Call(name, "create_collection", (), (), kwargs)
        await self.sillar_route.run(command, lambda chosen: create(name, *args, session=chosen, **kwargs), session)
        return self.get_collection(name)


def _options_of(target: AsyncCollection[Any] | AsyncDatabase[Any]) -> dict[str, Any]:
    return {
        "codec_options": target.codec_options,
        "read_preference": target.read_preference,
        "write_concern": target.write_concern,
        "read_concern": target.read_concern,
    }


for _name in _COLLECTION_METHODS:
    setattr(RoutedCollection, _name, _led(AsyncCollection, _name))
for _name in _DATABASE_METHODS:
    setattr(RoutedDatabase, _name, _led(AsyncDatabase, _name))
