"""One command once per set of further arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sillar.engines.mongodb.arguments import checked, is_bulk_verb, operation_of
from sillar.engines.mongodb.compiler import CommandPlan
from sillar.query.document import DocumentCommand

if TYPE_CHECKING:
    from sillar.engines.mongodb.connection import MongoDBConnection


async def run_sets(
    connection: MongoDBConnection,
    statement: DocumentCommand,
    args: Iterable[Sequence[Any]],
    timeout_seconds: float | None,
) -> int:
    """Run them in one transaction where the deployment has transactions, and in one command where there is one.

    Returns:
        the rows affected.
    """
    sets = list(args)
    verb = statement.verb
    planned = statement if isinstance(statement, CommandPlan) else None

    async def one_by_one() -> int:
        affected = 0
        for each in sets:
            affected += (await connection.perform(statement, each, timeout_seconds)).rows_affected
        return affected

    async def together() -> int:
        operations = [operation_of(verb, _arguments(statement, each)) for each in sets]
        bulk = DocumentCommand(statement.collection, "bulk_write", {"operations": operations})
        reply = await connection.perform(bulk, (), timeout_seconds)
        return reply.rows_affected if planned is None else planned.affected(reply)

    if planned is not None and (merged := planned.merged([each[0] for each in sets])) is not None:
        return (await connection.perform(statement, (merged,), timeout_seconds)).rows_affected
    return await connection.all_or_nothing(together if is_bulk_verb(verb) else one_by_one)


def _arguments(statement: DocumentCommand, each: Sequence[Any]) -> Mapping[str, Any]:
    return checked(statement, each[0] if each else None)
