"""The names of Tortoise that it does not document and that Sillar needs, in one place; a contract test holds them at
both ends of the supported range.

Besides, :mod:`.client` overrides ``BaseDBAsyncClient._in_transaction`` and :mod:`.executor` overrides
``BaseExecutor._execute_prefetch_queries``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tortoise.backends.base.executor import EXECUTOR_CACHE, BaseExecutor
from tortoise.context import TortoiseContext, _current_context, get_current_context, set_global_context
from tortoise.exceptions import ConfigurationError
from tortoise.models import MetaInfo, Model


def meta_of(model: type[Model]) -> MetaInfo:
    """What Tortoise knows of a model: its table, fields and relations."""
    return model._meta


def saved_instance(model: type[Model], *, partial: bool) -> Any:
    """An instance of a row, with no attribute set yet: what ``Model._init_from_db`` begins with."""
    meta = model._meta
    made: Any = model.__new__(model)
    made._partial = partial
    made._saved_in_db = True
    made._custom_generated_pk = meta.db_pk_column not in meta.generated_db_fields
    made._await_when_save = {}
    return made


def is_initialised(model: type[Model]) -> bool:
    """Whether Tortoise has resolved the relations of a model."""
    return bool(model._meta._inited)


def forget_statements(alias: str) -> None:
    """Drop the INSERT, UPDATE and DELETE texts that Tortoise has kept for the models of a connection: the next client
    of that name may be one of another engine, which spells them otherwise."""
    for key in [key for key in EXECUTOR_CACHE if key[0] == alias]:
        del EXECUTOR_CACHE[key]


async def prefetch_in_turn(executor: BaseExecutor, instances: Iterable[Model]) -> Iterable[Model]:
    """What the executor has to prefetch, one query after the other in this task."""
    if instances and (executor.prefetch_map or executor._prefetch_queries):
        executor._make_prefetch_queries()
        for field, queries in executor._prefetch_queries.items():
            for query in queries:
                await executor._do_prefetch(instances, field, query)
    return instances


def become_global(context: TortoiseContext) -> bool:
    """Have all tasks find a context, unless another one is global, or current here. Returns whether they do."""
    if get_current_context() not in (None, context):
        return False
    try:
        set_global_context(context)
    except ConfigurationError:  # set meanwhile by this very context: it was opened before
        return get_current_context() is context
    return True


def enter(context: TortoiseContext) -> None:
    """Make it the one of this context of execution, for good."""
    _current_context.set(context)


@contextmanager
def entered(context: TortoiseContext) -> Iterator[None]:
    """Make it the one of this context of execution for a block."""
    token = _current_context.set(context)
    try:
        yield
    finally:
        _current_context.reset(token)
