"""Writes below each example of ``docs/query-builder.md`` what it sends; with ``--check`` only says whether that is so.

An example is a block ``python query`` that holds one expression; its models come from the block ``python models``. No
server is needed: adapters render without a connection.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sillar.config import MongoDBConfig, PostgreSQLConfig
from sillar.engines.mongodb import MongoDBAdapter
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.errors import UnsupportedCapabilityError

PAGE = Path(__file__).parents[1] / "docs" / "query-builder.md"
MODELS = re.compile(r"^```python models\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(
    r"(^```python query\n(.*?)^```\n)(?:\n```sql\n.*?^```\n)?(?:\n```javascript\n.*?^```\n)?", re.MULTILINE | re.DOTALL
)


def pretty_sql(text: str) -> str:
    """No blanks at the ends of lines."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def pretty_command(text: str) -> str:
    """One stage of a pipeline a line."""
    call, _, arguments = text.partition("(")
    given = json.loads(arguments.removesuffix(")"))
    if not isinstance(given, list):
        return f"{call}({json.dumps(given, ensure_ascii=False)})"
    stages = ",\n".join(f"  {json.dumps(stage, ensure_ascii=False)}" for stage in given)
    return f"{call}([\n{stages}\n])"


def written(page: str) -> str:
    """The page with what its examples send."""
    source = MODELS.search(page)
    assert source is not None
    module = ModuleType("query_guide_models")  # a real one: annotations of the classes look for theirs
    sys.modules[module.__name__] = module
    exec(source[1], module.__dict__)
    sql = PostgreSQLAdapter(PostgreSQLConfig(host="localhost", database="guide"))
    documents = MongoDBAdapter(MongoDBConfig(host="localhost", database="guide"))

    def example(match: re.Match[str]) -> str:
        query: Any = eval(match[2], module.__dict__)
        command = "refused"
        try:
            command = pretty_command(documents.rendered(*documents.bind(query.composed(), None)))
        except UnsupportedCapabilityError as error:
            command = f"// {error}"
        text = pretty_sql(sql.rendered(*sql.bind(query.composed(), None)))
        return f"{match[1]}\n```sql\n{text}\n```\n\n```javascript\n{command}\n```\n"

    try:
        return EXAMPLE.sub(example, page)
    finally:
        del sys.modules[module.__name__]


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    wanted = written(page)
    if "--check" in sys.argv:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
