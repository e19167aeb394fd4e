"""``sillar chaos``: faults against a topology of the user's own, under continuous reads and writes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sillar.config import DatabaseConfig, load_config
from sillar.errors import UsageError
from sillar.manager import DatabaseManager
from sillar.testing.chaos import (
    COLUMNS,
    CommandFault,
    Expectations,
    Fault,
    Report,
    Run,
    Scenario,
    Step,
    proxied,
    table_row,
)
from sillar.testing.chaos.client_faults import CLIENT_FAULTS, client_fault, takes_down
from sillar.testing.chaos.paths import PATHS, PROBE_SUFFIX, SCRATCH_TABLE
from sillar.testing.faults import FaultProxy

DURATION_MAX_SECONDS = 600.0
_LATER_SECONDS = 5.0


def chaos(
    target: Annotated[list[str], typer.Option(help="host:port of a node of the configuration; may be repeated.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    url: Annotated[str | None, typer.Option(help="URL of the database, instead of a file.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the configuration; prod is refused.")] = None,
    database: Annotated[str | None, typer.Option(help="Configured name; the default one if none is given.")] = None,
    fault: Annotated[
        str | None, typer.Option(help=f"Between this process and the targets: {', '.join(CLIENT_FAULTS)}.")
    ] = None,
    delay_seconds: Annotated[float, typer.Option(min=0.001, max=60, help="Of the fault delay.")] = 0.2,
    on_inject: Annotated[str | None, typer.Option(help="Your own command that breaks something.")] = None,
    on_heal: Annotated[str | None, typer.Option(help="Your own command that repairs it.")] = None,
    duration: Annotated[float, typer.Option(min=1, max=DURATION_MAX_SECONDS, help="Seconds of work.")] = 30.0,
    fault_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds until it is healed; a third of the duration.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Writes a second at most, all tasks together.")] = 50.0,
    path: Annotated[list[str] | None, typer.Option(help=f"{', '.join(PATHS)}; may be repeated.")] = None,
    table: Annotated[str, typer.Option(help="Scratch table; created and dropped.")] = SCRATCH_TABLE,
    lost_max: Annotated[
        int, typer.Option(min=0, help="Acknowledged writes that may be lost (asynchronous replication).")
    ] = 0,
    recovery_seconds: Annotated[float, typer.Option(min=0.1, help="p99, once a node takes writes again.")] = 5.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Inject one fault into your own staging databases under continuous reads and writes, and count what was lost.

    The work goes to a scratch table of its own. Exit status: 0 expectations held, 1 they did not, 2 wrong use.
    """
    loaded = _loaded(config, url, profile)
    name = database or loaded.default_database
    _check_targets(loaded, name, target)
    if (fault is None) == (on_inject is None):
        raise UsageError(f"give either --fault ({', '.join(CLIENT_FAULTS)}) or --on-inject 'your command'")
    if on_heal is not None and on_inject is None:
        raise UsageError("--on-heal belongs to --on-inject")
    if fault is not None and fault not in CLIENT_FAULTS:
        raise UsageError(f"there is no fault {fault!r}; there are {', '.join(CLIENT_FAULTS)}")
    lasts = duration / 3 if fault_seconds is None else fault_seconds
    if lasts > duration / 2:
        raise UsageError(f"--fault-seconds is {lasts:g}, and may be half of --duration ({duration:g}) at most")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    _confirm(console, loaded, name, target, fault or f"the command {on_inject!r}", table, yes=yes)
    scenario = Scenario(
        "chaos",
        (),
        duration,
        Expectations(lost_max=lost_max, recovery_p99_seconds_max=recovery_seconds, handshakes_max=None, requests_min=1),
        tuple(path or ["direct"]),
        rounds_per_second=rate,
        duration_seconds_max=duration + recovery_seconds + _LATER_SECONDS,
    )
    command = None if on_inject is None else CommandFault(on_inject, on_heal)
    report = asyncio.run(_run(console, loaded, name, target, fault, delay_seconds, command, scenario, lasts, table))
    _show(report)
    return 0 if report.held else 1


def _loaded(config: Path | None, url: str | None, profile: str | None) -> DatabaseConfig:
    if config is not None and url is not None:
        raise UsageError("give either --config or --url")
    if config is not None and not config.is_file():
        raise UsageError(f"there is no configuration file {config}")
    loaded = load_config(file=config, url=url, profile=profile)
    if loaded.profile == "prod":
        raise UsageError("the profile of this configuration is prod, and chaos is not for production: nothing was done")
    return loaded


def _check_targets(config: DatabaseConfig, name: str, targets: Sequence[str]) -> None:
    nodes = [str(address) for address in config.connection(name).addresses]
    strangers = [target for target in targets if target not in nodes]
    if strangers:
        raise UsageError(
            f"{', '.join(strangers)} is no node of database {name!r}; there are {', '.join(nodes) or 'none to reach'}"
        )


def _confirm(
    console: Console, config: DatabaseConfig, name: str, targets: Sequence[str], what: str, table: str, *, yes: bool
) -> None:
    where = config.connection(name).display_name
    console.print(
        f"database {name!r}: {where} (profile {config.profile})\nfault: {what}, at {', '.join(targets)}\n"
        f"tables made and dropped: {table}, {table}{PROBE_SUFFIX}"
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to confirm this: give --yes")
    if not typer.confirm(f"Inject this at {', '.join(targets)}?", err=True):
        raise UsageError("not confirmed: nothing was done")


async def _run(
    console: Console,
    config: DatabaseConfig,
    name: str,
    targets: Sequence[str],
    fault: str | None,
    delay_seconds: float,
    command: CommandFault | None,
    scenario: Scenario,
    lasts: float,
    table: str,
) -> Report:
    began = monotonic()

    def progress(text: str) -> None:
        console.print(f"{monotonic() - began:6.1f} s  {text}")

    async with AsyncExitStack() as stack:
        real = config.connection(name)
        injected: Fault
        if command is not None:
            config, injected = config.model_copy(update={"databases": {name: config.databases[name]}}), command
        else:
            proxies = {str(at): FaultProxy(at.host, at.port) for at in real.addresses}
            for proxy in proxies.values():
                await stack.enter_async_context(proxy)
            config = proxied(config, name, list(proxies.values()))
            assert fault is not None  # checked before
            injected = client_fault(fault, [proxies[target] for target in targets], delay_seconds=delay_seconds)
            if real.topology.discovery != "none":
                progress("discovery of nodes is off: what is not in the configuration has no proxy before it")
        at = scenario.duration_seconds / 4
        down = tuple(targets) if fault is not None and takes_down(fault) else ()
        step = Step(at, injected, heal_at_seconds=at + lasts, down=down)
        scenario = replace(scenario, steps=(step,))
        manager = await stack.enter_async_context(DatabaseManager(config.model_copy(update={"default_database": name})))
        progress(f"working for {scenario.duration_seconds:g} s")
        run = Run(scenario, manager, name, nodes=real, table=table, progress=progress)
        run.primary_seconds = scenario.expected.recovery_p99_seconds_max + _LATER_SECONDS
        return await run.run()


def _show(report: Report) -> None:
    """The table, on standard output."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    shown = Table("figure", "value", title="chaos")
    for title, cell in zip(COLUMNS[1:], table_row(report)[1:], strict=True):
        shown.add_row(title, cell)
    console.print(shown)
    for (phase, kind), count in report.failures.items():
        console.print(f"failed, begun in phase {phase.value}: {kind} {count}")
    for what in report.broken():
        console.print(f"did not hold: {what}")
