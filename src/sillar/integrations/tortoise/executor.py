"""Tortoise's executors, with prefetches in the task of the transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from tortoise.backends.base.executor import BaseExecutor
from tortoise.models import Model

from sillar.integrations.tortoise.private import prefetch_in_turn

if TYPE_CHECKING:
    from sillar.integrations.tortoise.client import SharedClient


class TaskBoundExecutor(BaseExecutor):
    """Outside a transaction it prefetches relations at once, on connections of their own, as the stock executor does.
    A transaction has one connection, and belongs to one task: there it prefetches them in turn."""

    async def _execute_prefetch_queries(self, instance_list: Iterable[Model]) -> Iterable[Model]:
        if not (self.prefetch_map or self._prefetch_queries):
            return instance_list
        client = cast("SharedClient", self.db)
        if await client._transaction_here() is not None:
            return await prefetch_in_turn(self, instance_list)
        return cast("Iterable[Model]", await cast(Any, super())._execute_prefetch_queries(instance_list))
