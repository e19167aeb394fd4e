"""An assertion on how many statements a piece of code sends."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from sillar.observability.watch import QueryWatch, watch_queries


class assert_queries:  # noqa: N801 - reads as the assertion that it is
    """``with assert_queries(max=3):`` or ``async with``: fail if the block sends more statements than that.

    The statements are those of ``watch_queries``, which the block gets as its target.

    Args:
        max: how many are allowed.

    Raises:
        AssertionError: there were more; the message lists them with their counts. An exception of the block itself
            comes first.
    """

    def __init__(self, *, max: int) -> None:  # noqa: A002 - the word for it
        self.max = max
        self._stack = ExitStack()

    def __enter__(self) -> QueryWatch:
        self._watch = self._stack.enter_context(watch_queries())
        return self._watch

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is None and self._watch.count > self.max:
            hints = "".join(f"\n{hint}" for hint in self._watch.hints())
            raise AssertionError(
                f"{self._watch.count} statements were sent, {self.max} at most were expected:\n{self._watch}{hints}"
            )

    async def __aenter__(self) -> QueryWatch:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
