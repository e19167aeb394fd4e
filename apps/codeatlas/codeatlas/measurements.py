"""The figures of a project as rows of the metrics table, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from codeatlas.records import Measurement, Overview, PackageFigures, Project, Run

TOTAL, COMPLEXITY, RULE, MODULE = "total", "complexity", "rule", "module"
MODULES_KEPT = 50
_PACKAGE_KINDS = {
    "package_files": "files",
    "package_lines": "lines_code",
    "package_complexity": "complexity_total",
    "package_findings": "findings",
}


class ProjectFigures(msgspec.Struct, frozen=True):
    """What a project measures: as counted by a store, before it is kept or shown.

    Attributes:
        totals, complexity, rules, modules: by name; complexity by the number as text.
        packages: the figures of each package by its name.
    """

    totals: Mapping[str, int]
    packages: Mapping[str, Mapping[str, int]]
    complexity: Mapping[str, int]
    rules: Mapping[str, int]
    modules: Mapping[str, int]

    def measurements(self) -> list[Measurement]:
        """One row for each figure."""
        rows = [
            Measurement(kind, name, value)
            for kind, values in (
                (TOTAL, self.totals),
                (COMPLEXITY, self.complexity),
                (RULE, self.rules),
                (MODULE, self.modules),
            )
            for name, value in values.items()
        ]
        rows.extend(
            Measurement(kind, package, figures[name])
            for package, figures in self.packages.items()
            for kind, name in _PACKAGE_KINDS.items()
        )
        return rows

    @classmethod
    def of(cls, measurements: Iterable[Measurement]) -> ProjectFigures:
        """The figures that the rows came from."""
        simple: dict[str, dict[str, int]] = {TOTAL: {}, COMPLEXITY: {}, RULE: {}, MODULE: {}}
        packages: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for row in measurements:
            if row.kind in _PACKAGE_KINDS:
                packages[row.name][_PACKAGE_KINDS[row.kind]] = row.value
            else:
                simple[row.kind][row.name] = row.value
        return cls(simple[TOTAL], dict(packages), simple[COMPLEXITY], simple[RULE], simple[MODULE])

    def overview(self, project: Project, roots: list[str], run: Run | None, latest: Run | None) -> Overview:
        """Ordered for display."""
        packages = [PackageFigures(name=name, **figures) for name, figures in self.packages.items()]
        return Overview(
            project=project,
            roots=roots,
            run=run,
            latest=latest,
            totals=dict(self.totals),
            complexity=sorted((int(name), value) for name, value in self.complexity.items()),
            packages=sorted(packages, key=lambda package: (-package.lines_code, package.name)),
            rules=_most_first(self.rules),
            modules=_most_first(self.modules),
        )


def counted(names: Sequence[str], values: Iterable[Any]) -> dict[str, int]:
    """Sums as integers, by name: engines answer Decimal, and NULL where there was nothing to sum."""
    return {name: int(value or 0) for name, value in zip(names, values, strict=True)}


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
