"""How each engine would run a statement: asked of the engine, with the values that the program sent."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sillar import DatabaseSession, DocumentCommand, Execution
from sillar.engines.mongodb.compiler import CommandPlan
from sillar.query.text import StatementText

_numbers = itertools.count(1)


class Recorder:
    """An observer that keeps every statement that ran, once, with the values of one of its executions."""

    def __init__(self) -> None:
        self.statements: dict[str, tuple[StatementText, list[Any]]] = {}
        self.commands: dict[str, tuple[DocumentCommand, Mapping[str, Any]]] = {}

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        statement = execution.statement
        if isinstance(statement, StatementText):
            args = execution.args or (execution.payload[0] if execution.payload else ())
            self.statements.setdefault(statement.sql, (statement, list(args)))
        elif isinstance(statement, DocumentCommand):
            arguments = execution.args[0] if isinstance(statement, CommandPlan) else statement.arguments
            # What is sent of one fingerprint differs by the values in it, and not by the fields that are compared.
            self.commands.setdefault(f"{statement.fingerprint} {fields_of(arguments)}", (statement, arguments))

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        """Not of interest here."""

    def forget(self) -> None:
        """Begin anew."""
        self.statements.clear()
        self.commands.clear()


async def faults_of(engine: str, session: DatabaseSession, recorder: Recorder) -> dict[str, str]:
    """The statements that no index serves, each with the plan."""
    faults = {}
    for sql, (statement, args) in list(recorder.statements.items()):
        if statement.verb in ("select", "update", "delete") and "atlas_" in sql:
            plan = await SQL_PLANS[engine](session, sql, args)
            if plan:
                faults[sql] = plan
    for fingerprint, (command, arguments) in list(recorder.commands.items()):
        plan = await document_fault(session, command, arguments)
        if plan:
            faults[fingerprint] = plan
    return faults


async def sqlite_fault(session: DatabaseSession, sql: str, args: list[Any]) -> str:
    """A table that is read from end to end, or a list that is sorted instead of read in order."""
    # SQLite does not look whether the schema has changed when it explains. So this is asked of the connection that
    # changes it, which is the one for transactions, and in a text that was not prepared before.
    async with session.transaction():
        rows = await session.fetch_all(f"EXPLAIN QUERY PLAN {sql} -- {next(_numbers)}", args)
    details = [str(row["detail"]) for row in rows]
    results = ("SCAN words", "SCAN (")
    scans = [detail for detail in details if detail.startswith("SCAN ") and not detail.startswith(results)]
    sorts = [detail for detail in details if "TEMP B-TREE FOR ORDER BY" in detail and is_paged(sql)]
    return "; ".join(details) if scans or sorts else ""


async def postgresql_fault(session: DatabaseSession, sql: str, args: list[Any]) -> str:
    """As above; the table of sequences has four rows on one page, which no index can make less."""
    plan = await session.fetch_value(f"EXPLAIN (FORMAT JSON) {sql}", args)
    plan = json.loads(plan) if isinstance(plan, str) else plan
    nodes = list(nodes_of(plan[0]["Plan"]))
    scans = [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] != "atlas_sequences"]
    sorts = [node for node in nodes if "Sort" in node["Node Type"] and is_paged(sql)]
    return json.dumps(plan) if scans or sorts else ""


async def mysql_fault(session: DatabaseSession, sql: str, args: list[Any]) -> str:
    """As above; ``type`` is how a table is read, ALL and index being from end to end."""
    rows = await session.fetch_all(f"EXPLAIN FORMAT=TRADITIONAL {sql}", args)
    for row in rows:
        if str(row["table"] or "<").startswith("<"):
            continue  # the result of another step
        sorted_page = is_paged(sql) and "filesort" in str(row["Extra"])
        if row["type"] in ("ALL", "index") or row["key"] is None or sorted_page:
            return json.dumps(rows, default=str)
    return ""


SQL_PLANS = {
    "sqlite": sqlite_fault,
    "postgresql": postgresql_fault,
    "mariadb": mysql_fault,
    "mysql": mysql_fault,
}


async def document_fault(session: DatabaseSession, command: DocumentCommand, arguments: Mapping[str, Any]) -> str:
    """A collection that is read from end to end. What a change or deletion looks for is explained as a search."""
    collection = session.documents(command.collection)
    if command.verb in ("insert_one", "insert_many"):
        return ""
    if command.verb == "aggregate":
        plans = [await collection.explain(pipeline=arguments["pipeline"])]
    elif command.verb == "bulk_write":
        plans = [await collection.explain(operation[1]) for operation in arguments["operations"][:2]]
    else:
        sort, limit = arguments.get("sort"), arguments.get("limit", 0)
        plans = [await collection.explain(arguments["filter"], sort=sort, limit=limit)]
    for plan in plans:
        stages = {node["stage"] for node in stages_of(plan)}
        if "COLLSCAN" in stages or not stages & {"IXSCAN", "IDHACK", "EXPRESS_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN"}:
            return json.dumps(plan, default=str)
    return ""


def is_paged(sql: str) -> bool:
    """A page of a list, which has to come out of an index in its order: everything that names a key to go on from."""
    orders = (
        r"complexity DESC, \w+\.file_id DESC",
        r"file_id, \w+\.ordinal\s+LIMIT",
        r"ORDER BY \w+\.path, \w+\.id",
        r"ORDER BY \w+\.name\s+LIMIT",
    )
    return any(re.search(order, sql) for order in orders)


def fields_of(arguments: Any) -> str:
    """The keys of a command, without its values."""
    if isinstance(arguments, Mapping):
        return "{" + ",".join(f"{key}:{fields_of(inner)}" for key, inner in arguments.items()) + "}"
    if isinstance(arguments, list | tuple):
        return "[" + ",".join(dict.fromkeys(fields_of(inner) for inner in arguments)) + "]"
    return ""


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


def stages_of(plan: Any) -> Iterator[Mapping[str, Any]]:
    """All parts of a plan that name a stage, wherever the server has put them."""
    if isinstance(plan, Mapping):
        if "stage" in plan:
            yield plan
        for name, inner in plan.items():
            if name != "rejectedPlans":
                yield from stages_of(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from stages_of(inner)
