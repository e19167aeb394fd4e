"""How one connection runs statements: prepared and kept, or as text with literals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from asyncmy.errors import MySQLError

from sillar.engines.connection import PlannedShape
from sillar.engines.mysql import driver, probe
from sillar.engines.mysql.errors import server_code
from sillar.engines.mysql.placeholders import PreparedTexts
from sillar.engines.mysql.values import ResultShape, ResultShapes
from sillar.errors import ParameterError
from sillar.query.text import StatementText

_PREPARABLE: Final = frozenset({"select", "insert", "update", "delete", "replace", "with"})
_OUTDATED: Final = frozenset({1615, 1243})
_CANNOT_PREPARE: Final = frozenset({1295, 1461})

_COMMITS_NOTHING: Final = frozenset(
    {
        "select",
        "values",
        "table",
        "with",
        "show",
        "explain",
        "describe",
        "desc",
        "insert",
        "update",
        "delete",
        "replace",
    }
)


def commits_nothing(statement: StatementText) -> bool:
    """Whether it certainly leaves an open transaction open.

    Source: MySQL manual, "Statements That Cause an Implicit Commit".
    """
    return statement.is_atomic and statement.verb in _COMMITS_NOTHING


class KeptStatement:
    """A statement kept prepared on one connection.

    Attributes:
        raw: the driver's.
        description, shape: of its last result; the driver gives the same object while the columns are the same.
    """

    __slots__ = ("description", "raw", "shape")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.description: Any = None
        self.shape: ResultShape | None = None


class StatementRunner:
    """Runs the statements of one connection. Nothing here may be cancelled: it runs inside an exchange.

    Args:
        raw: the driver's connection.
        texts, shapes: shared by the connections of a node.
        prepared_max: statements kept at most.
    """

    __slots__ = ("_is_mariadb", "_prepared", "_prepared_max", "_raw", "_shapes", "_texts")

    def __init__(self, raw: Any, *, texts: PreparedTexts, shapes: ResultShapes, prepared_max: int) -> None:
        self._raw = raw
        self._texts = texts
        self._shapes = shapes
        self._prepared: dict[Any, KeptStatement] = {}
        self._prepared_max = prepared_max
        self._is_mariadb = probe.is_mariadb(raw)

    def forget(self) -> None:
        """The server has dropped all prepared statements."""
        self._prepared.clear()

    def shape_of_text(self, statement: StatementText, description: tuple[Any, ...]) -> ResultShape:
        """The shape of a result of the text protocol."""
        return self._shape(statement, description, binary=False)

    def shape(self, statement: StatementText, result: Any, kept: KeptStatement | None) -> ResultShape | None:
        """The shape of a result, or None where it has no rows."""
        description = result.description
        if description is None:
            return None
        if kept is None:
            return self._shape(statement, description, binary=False)
        if kept.description is not description:
            kept.description, kept.shape = description, self._shape(statement, description, binary=True)
        return kept.shape

    def _shape(self, statement: StatementText, description: tuple[Any, ...], *, binary: bool) -> ResultShape:
        if statement.results is not None:  # a plan: SQLAlchemy's processors make the values
            planned: PlannedShape = statement.results.described(tuple([column[:2] for column in description]))
            return ResultShape.planned(planned)
        return self._shapes.get(description, binary=binary)

    async def execute(self, statement: StatementText, args: Sequence[Any]) -> tuple[Any, KeptStatement | None]:
        """Run a statement; the driver's result, and the kept statement where it was one: then values come in binary."""
        if args and statement.verb in _PREPARABLE and statement.is_single and self._is_preparable(statement, args):
            # MySQL derives the types of parameters from the first values and bends later ones to them ('x' becomes 0):
            # there each combination of types is a statement of its own.
            key = statement.key if self._is_mariadb else (statement.key, *map(type, args))
            for attempt in (1, 2):
                kept = self._prepared.get(key)
                try:
                    if kept is None:
                        kept = await self._prepare(key, statement, len(args))
                    return await driver.execute(kept.raw, args), kept
                except MySQLError as error:
                    code = server_code(error)
                    if code in _CANNOT_PREPARE:
                        break
                    if code not in _OUTDATED or attempt == 2:
                        raise
                    del self._prepared[key]  # DDL of somebody else: prepare it anew
        results = await driver.query(self._raw, self.text(statement, args))
        return _summed(results), None

    def _is_preparable(self, statement: StatementText, args: Sequence[Any]) -> bool:
        """MySQL takes bytes for text where it cannot derive a type, and a NULL tells it no type at all."""
        if statement.results is not None and not statement.results.prepared:
            return False
        if not self._is_mariadb:
            for value in args:
                if value is None or type(value) is bytes:
                    return False
        return True

    async def _prepare(self, key: Any, statement: StatementText, count: int) -> KeptStatement:
        text = self._texts.get(statement.sql)
        if text.count != count:
            raise ParameterError(f"the statement has {text.count} parameters, {count} were given")
        prepared = await self._raw.prepare(text.sql)
        if prepared.parameter_count != count:
            await prepared.close()
            raise ParameterError(
                f"the statement has {prepared.parameter_count} parameters for the server, {count} were given;"
                " a placeholder inside quotes is none"
            )
        if len(self._prepared) >= self._prepared_max:
            await self._prepared.pop(next(iter(self._prepared))).raw.close()
        kept = self._prepared[key] = KeptStatement(prepared)
        return kept

    def text(self, statement: StatementText, args: Sequence[Any]) -> str:
        """The statement with its parameters as literals."""
        if not args:
            return statement.sql if not statement.names else self._texts.get(statement.sql).sql
        text = self._texts.get(statement.sql)
        if text.count != len(args):
            raise ParameterError(f"the statement has {text.count} parameters, {len(args)} were given")
        literal = self._raw.literal
        return statement.sql % tuple([literal(value) for value in args])


def _summed(results: Sequence[Any]) -> Any:
    """Of a script or procedure: the last result that has rows, else the last one with all the rows affected."""
    last = results[-1]
    if len(results) == 1:
        return last
    for result in reversed(results):
        if result.description is not None:
            return result
    last.affected_rows = sum(result.affected_rows for result in results)
    return last
