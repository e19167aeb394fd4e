"""The command ``sillar``: ``pip install 'sillar[cli]'``."""

from __future__ import annotations

import sys

import structlog


def main() -> int:
    """Run the command line of this process; returns the exit status: 0 all is well, 1 it is not, 2 wrong use."""
    try:
        from sillar.cli.application import run
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("typer", "rich"):
            raise
        sys.stderr.write(f"sillar: the command line needs {package}, which is not installed: "
                         "pip install 'sillar[cli]'\n")  # fmt: skip
        return 2
    # Standard output is for results, and what Sillar logs during a fault is part of the fault.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return run(sys.argv[1:])


__all__ = ["main"]
