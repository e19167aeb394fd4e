"""Where in the user's code something was called."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = f"{Path(__file__).resolve().parents[1]}/"


def calling_place() -> str:
    """``file.py:line`` of the nearest caller outside Sillar and the standard library's context managers."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_PACKAGE) and not filename.endswith("contextlib.py"):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
