"""OBSERVE: times every execution once and tells the observers."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any

from sillar.execution.execution import Execution
from sillar.execution.pipeline import Observer, Proceed, Stage, observer_failed


class Observe:
    """The outermost interceptor. Without observers it is left out of the pipeline."""

    stage = Stage.OBSERVE

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        execution.started = started = perf_counter()
        try:
            result = await proceed(execution)
        except BaseException as error:
            execution.duration_seconds = perf_counter() - started
            self._tell(execution, error)
            raise
        execution.duration_seconds = perf_counter() - started
        self._tell(execution, None)
        return result

    def _tell(self, execution: Execution, error: BaseException | None) -> None:
        for observer in self._observers:
            try:
                observer.executed(execution, error)
            except Exception as failure:
                observer_failed(observer, failure)
