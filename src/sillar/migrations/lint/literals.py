"""The SQL that stands in a migration file, for one whose statements are not known before it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from sillar.migrations.migration import MigrationOperation

_SENDS = {"execute", "exec_driver_sql", "text", "scalar", "scalars"}


def written_statements(source: str) -> list[MigrationOperation]:
    """The literals that are handed to ``execute``, ``text`` and the like, whether they would be sent or not."""
    return list(_literals(source))


def _literals(source: str) -> Iterator[MigrationOperation]:
    try:
        module = ast.parse(source)
    except SyntaxError:
        return
    functions = [each for each in module.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for function in functions:
        if function.name == "downgrade":
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and node.args]
        for call in sorted(calls, key=lambda each: (each.lineno, each.col_offset)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            first = call.args[0]
            if name in _SENDS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield MigrationOperation(first.value, line=call.lineno)
