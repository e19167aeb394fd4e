"""``python -m bench [--only PATTERN] [--json FILE] [--baseline FILE]``: runs the cases and prints the table."""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.case import Case, all_cases
from bench.runner import Result, run
from bench.servers import Servers
from sillar.testing.servers import ServerFleet

NOISE_FLOOR = 0.05
"""A change of the ratio below this is never called a regression."""


def main() -> int:
    arguments = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    cases = [case for case in all_cases() if fnmatch.fnmatch(case.name, arguments.only)]
    if not cases:
        print(f"no case matches {arguments.only!r}; there are: {', '.join(case.name for case in all_cases())}")
        return 2
    results, failures = _with_loop(_run_all(cases))
    Console(width=None if sys.stdout.isatty() else 170).print(_table(results))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    for name, error in failures:
        print(f"FAILED {name}: {type(error).__name__}: {error}")
    regressions = _regressions(results, arguments.baseline) if arguments.baseline else []
    for line in regressions:
        print(line)
    return 1 if failures or regressions else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Sillar against the alternatives.")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases to run, such as 'postgresql.*'")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument(
        "--baseline", metavar="FILE", help="an earlier --json; exit non-zero on a regression beyond the noise"
    )
    return parser.parse_args()


def _with_loop(work: Any) -> Any:
    """Both sides run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


async def _run_all(cases: list[Case]) -> tuple[list[Result], list[tuple[str, Exception]]]:
    results: list[Result] = []
    failures: list[tuple[str, Exception]] = []
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=sum(case.rounds + 1 for case in cases))
        async with ServerFleet() as fleet:
            servers = Servers(fleet)
            try:
                for case in cases:
                    progress.update(task, description=case.name)
                    try:
                        results.extend(await run(case, servers, _advancing(progress, task)))
                    except Exception as error:  # one broken case must not hide the figures of the others
                        failures.append((case.name, error))
                        console.print_exception()
            finally:
                await servers.close()
    return results, failures


def _advancing(progress: Progress, task: Any) -> Callable[[], None]:
    return lambda: progress.advance(task)


def _table(results: list[Result]) -> Table:
    table = Table("case", "versus", "Sillar", "other", "unit", "ratio", "goal", "met", "±", "CPU µs", "trips", "MiB")
    for each in results:
        notes = "; ".join(f"{key} {value}" for key, value in each.notes.items())
        table.add_row(
            f"{each.case}\n[dim]{notes}[/dim]" if notes else each.case,
            each.versus,
            f"{each.sillar_median:.4g}",
            f"{each.versus_median:.4g}",
            each.unit,
            f"{each.ratio:.2f}",
            f"{each.goal:.2f}",
            "[green]yes[/green]" if each.met else "[red]no[/red]",
            f"{each.noise:.0%}",
            f"{each.cpu_us:.4g}",
            "–" if each.round_trips is None else f"{each.round_trips:.3g}",
            f"{each.memory_mib:.1f}",
        )
    return table


def _regressions(results: list[Result], baseline: str) -> list[str]:
    """The lines for the cases whose ratio fell by more than the noise of both runs."""
    before = {(each["case"], each["versus"]): each for each in json.loads(Path(baseline).read_text())}
    lines = []
    for each in results:
        old = before.get((each.case, each.versus))
        if old is None:
            continue
        noise = max(NOISE_FLOOR, each.noise + old.get("noise", 0.0))
        change = each.ratio / old["ratio"] - 1.0
        if change < -noise:
            lines.append(
                f"REGRESSION {each.case} versus {each.versus}: {old['ratio']:.2f} → {each.ratio:.2f}"
                f" ({change:+.0%}, noise {noise:.0%})"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
