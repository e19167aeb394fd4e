"""Faults of a configuration in our words: what pydantic found, said with the remedy and the nearest valid name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from sillar.errors import ConfigurationFault

FAULT = "configuration_fault"
"""The pydantic error type of everything that is already in our words."""

_TEMPLATE = "{subject}{problem}; {remedy}"
_VALUE_LENGTH_MAX = 60


def fault(problem: str, remedy: str, *, value: object = None, absent: bool = False) -> PydanticCustomError:
    """The error that a validator raises: ``problem`` is a predicate ("is out of range"), ``value`` its subject.

    Give ``value`` only where it cannot be a secret; otherwise the message speaks of "the value", or, where there is
    none (``absent``), begins with the predicate.
    """
    # What has an @ or :// in it may be a URL that went to the wrong place, password and all.
    secret = value is None or (isinstance(value, str) and ("@" in value or "://" in value))
    shown = "" if secret else _shown(value)
    subject = "" if absent else "the value "
    context = {"subject": f"{shown} " if shown else subject, "unnamed": subject, "problem": problem, "remedy": remedy}
    return PydanticCustomError(FAULT, _TEMPLATE, context)


def at(loc: Sequence[str | int], error: PydanticCustomError) -> InitErrorDetails:
    """``error`` at a path below the model whose validator raises it."""
    return InitErrorDetails(type=error, loc=tuple(loc), input=None)


def several(title: str, errors: Sequence[InitErrorDetails]) -> ValidationError:
    """Several faults in one exception, as pydantic wants them from a validator."""
    return ValidationError.from_exception_data(title, list(errors), hide_input=True)


def kept(error: ValidationError) -> list[InitErrorDetails]:
    """The errors of ``error`` in the form in which they can be raised again, without the inputs."""
    return [
        at(found["loc"], PydanticCustomError(FAULT, _TEMPLATE, found["ctx"]))
        for found in error.errors(include_url=False, include_input=False)
        if found["type"] == FAULT
    ]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name that ``name`` most likely stands for, or None."""
    by_lower = {valid.lower(): valid for valid in names}
    wanted = name.lower()
    found = difflib.get_close_matches(wanted, by_lower, n=1, cutoff=0.6)
    if not found and len(wanted) >= 3:  # "production" for "prod": one is the beginning of the other
        found = [
            valid for valid in by_lower if len(valid) >= 3 and (valid.startswith(wanted) or wanted.startswith(valid))
        ]
    return by_lower[found[0]] if len(found) == 1 else None


def suggestion(name: str, names: Sequence[str]) -> str:
    """The remedy for an unknown name."""
    found = nearest(name, names)
    return f"did you mean {found!r}?" if found else f"known here: {', '.join(sorted(names))}"


def in_our_words(error: ValidationError, fields: Mapping[str, Any]) -> ValidationError:
    """Say every error that is not ours yet with the help of the model's ``fields`` (name to pydantic ``FieldInfo``)."""
    details = []
    for found in error.errors(include_url=False):
        if found["type"] == FAULT:
            details.append(at(found["loc"], PydanticCustomError(FAULT, _TEMPLATE, found["ctx"])))
            continue
        loc = found["loc"]
        field = fields.get(str(loc[0])) if loc else None
        secret = field is None or "Secret" in str(field.annotation)
        details.append(at(loc, _translated(found, field, names=list(fields), secret=secret)))
    return several(error.title, details)


def faults_of(error: ValidationError, source_of: Callable[[tuple[str, ...]], str]) -> list[ConfigurationFault]:
    """All faults of ``error``, each with the source that ``source_of(path)`` names.

    The value itself is shown only where it did not come out of a URL: a password that was not percent-encoded ends up
    in any part of a URL.
    """
    faults = []
    for found in error.errors(include_url=False, include_input=False):
        path = tuple(str(part) for part in found["loc"])
        source, context = source_of(path), found["ctx"]
        subject = context["unnamed" if source.startswith("URL") else "subject"]
        where = ".".join(path) or "configuration"
        faults.append(ConfigurationFault(where, source, f"{subject}{context['problem']}", context["remedy"]))
    return faults


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_LENGTH_MAX else text[:_VALUE_LENGTH_MAX] + "…"


def _translated(found: Mapping[str, Any], field: Any, *, names: list[str], secret: bool) -> PydanticCustomError:
    """One of pydantic's own errors (https://docs.pydantic.dev/latest/errors/validation_errors/) in our words."""
    kind, context, given = found["type"], found.get("ctx", {}), found.get("input")
    scalar = isinstance(given, (str, int, float, bool)) and not isinstance(given, SecretStr)
    shown = given if scalar and not secret else None
    if kind == "extra_forbidden":
        return fault("there is no such setting", suggestion(str(found["loc"][-1]), names), absent=True)
    if kind == "missing":
        meaning = (field.description or "").strip().splitlines() if field is not None else []
        return fault("is missing", f"set it ({meaning[0].rstrip('.')})" if meaning else "set it", absent=True)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return fault("is out of range", f"give a number {words} {context[key]:g}", value=shown)
    if kind in ("literal_error", "enum"):
        valid = re.findall(r"'([^']*)'", str(context["expected"]))
        return fault("is not one of the choices", suggestion(str(given), valid) if scalar else
                     f"known here: {', '.join(valid)}", value=shown)  # fmt: skip
    for prefix, wanted in _WANTED.items():
        if kind.startswith(prefix):
            # A scalar where a table belongs is often a whole URL: never shown.
            return fault(f"is not {wanted}", f"give {wanted}", value=None if prefix in _COMPOUND else shown)
    return fault(f"is refused: {found['msg']}", "correct it")


_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}
_COMPOUND = ("model", "dict", "mapping", "tuple", "list")
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string_too_short": "a text that is not empty",
    "string": "a text",
    "path": "a path",
    "model": "a table of settings",
    "dict": "a table of settings",
    "mapping": "a table of settings",
    "tuple": "a list",
    "list": "a list",
    "none_required": "absent",
}
