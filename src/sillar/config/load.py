"""Reads a configuration from all its sources: file, environment, arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sillar.config.connection import DatabaseConnectionConfig
from sillar.config.database import DatabaseConfig
from sillar.config.faults import faults_of
from sillar.config.layers import Layer, environment_layer, file_layers, merged, source_of
from sillar.errors import ConfigurationError, ConfigurationFault


def load_config(
    *,
    url: str | None = None,
    databases: Mapping[str, DatabaseConnectionConfig | Mapping[str, Any] | str] | None = None,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> DatabaseConfig:
    """Build the configuration from its sources; each overrides those before it.

    1. ``file``: a TOML file with the fields of ``DatabaseConfig``.
    2. The tables below ``[profiles.<profile>]`` in that file.
    3. ``environment`` (None: this process's): ``SILLAR__DATABASES__MAIN__PORT=5433``; ``SILLAR__URL`` is the URL of
       the database ``default``.
    4. The arguments: ``url`` (of the database ``default``), ``databases`` (models, tables of settings or URLs by
       name), ``profile``, and ``overrides`` (nested tables of any settings).

    A database may have a ``url`` in any source. Fields beside it in the same or a later source override parts of it; it
    replaces what earlier sources say about engine, address, database and credentials.

    Raises:
        ConfigurationError: with every fault of every source.
    """
    base, overlays = (Layer(), {}) if file is None else file_layers(file)
    variables = environment_layer(os.environ if environment is None else environment)
    arguments = _argument_layer(url, databases, profile, overrides)
    layers = [base, variables, arguments]
    chosen = merged(layers).settings.get("profile", "dev")
    if isinstance(chosen, str) and chosen in overlays:
        layers.insert(1, overlays[chosen])
    whole = merged(layers)
    faults = list(whole.faults)
    try:
        config = DatabaseConfig.model_validate(whole.settings)
    except ValidationError as error:
        found = faults_of(error, lambda keys: source_of(whole, keys))
        reported = {fault.where for fault in whole.faults}
        faults += [fault for fault in found if fault.where not in reported and not _follows_from_unread(fault, whole)]
        config = None
    if faults or config is None:
        raise ConfigurationError(faults)
    return config


def _argument_layer(
    url: str | None, databases: Mapping[str, Any] | None, profile: str | None, overrides: Mapping[str, Any] | None
) -> Layer:
    layer = Layer()
    if url is not None:
        layer.put(("databases", "default", "url"), url, "argument url")
    if databases is not None:
        layer.put_table({"databases": databases}, "argument databases")
    if profile is not None:
        layer.put(("profile",), profile, "argument profile")
    layer.expand_urls()
    if overrides is None:
        return layer
    over = Layer()
    over.put_table(overrides, "argument overrides")
    over.expand_urls()
    return merged([layer, over])


def _follows_from_unread(fault: ConfigurationFault, whole: Layer) -> bool:
    """Whether something is missing only because the file or URL that has it could not be read."""
    if not fault.problem.startswith("is missing"):
        return False
    where = fault.where.split(".")
    return None in whole.unread or (len(where) > 1 and where[1] in whole.unread)
