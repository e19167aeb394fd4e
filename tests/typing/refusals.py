"""What the type checkers have to refuse: each comment names the error; one that is not needed is an error itself."""

from __future__ import annotations

from dataclasses import dataclass

from sillar import DatabaseSession


@dataclass
class Item:
    id: int


async def wrong(session: DatabaseSession) -> None:
    rows: list[str] = await session.fetch_all("SELECT 1", into=Item)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    row: Item = await session.fetch_one("SELECT 1", into=Item)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await session.fetch_all("SELECT 1", validate=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await session.fetch_all(b"SELECT 1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await session.execute("SELECT 1", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for each in session.stream("SELECT 1", into=Item):
        each.name  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    print(rows, row)
