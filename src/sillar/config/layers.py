"""Layers of settings, each from one source, merged with the memory of where every value came from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from sillar.config.database import Profile
from sillar.config.faults import suggestion
from sillar.config.url import parse_url
from sillar.errors import ConfigurationFault

Keys = tuple[str, ...]

PREFIX = "SILLAR__"
PROFILES: tuple[str, ...] = get_args(Profile)

_SECRET = ("password", "key_password", "url")
_JSON_VARIABLES = ("nodes", "server_settings", "patroni_urls")
_REPLACED_BY_URL = ("engine", "host", "port", "unix_socket", "nodes", "database", "credentials")
_REPLACED_BY_ENGINE = ("connection_options", "ssl_config", "source_address")


@dataclass(slots=True)
class Layer:
    """What one source says, as nested tables.

    Attributes:
        settings: tables and values; a database is a table, its URL already taken apart.
        sources: where each value came from, by its keys.
        faults: what is wrong with the source itself.
        urls: names of the databases for which this layer has a URL.
        unread: something could not be read, so what is missing is no fault of its own; the names of the databases
            concerned, or ``None`` among them for everything.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    sources: dict[Keys, str] = field(default_factory=dict)
    faults: list[ConfigurationFault] = field(default_factory=list)
    urls: set[str] = field(default_factory=set)
    unread: set[str | None] = field(default_factory=set)

    def put(self, keys: Keys, value: Any, source: str) -> None:
        """Set one value; a value that is also a table is a fault."""
        table = self.settings
        for depth, key in enumerate(keys[:-1], 1):
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                self.refuse_both(keys[:depth], source)
                return
        if isinstance(table.get(keys[-1]), dict):
            self.refuse_both(keys, source)
            return
        if keys[-1] in _SECRET and isinstance(value, str):
            value = SecretStr(value)  # from here on no repr of anything shows it
        table[keys[-1]] = value
        self.sources[keys] = source

    def put_table(self, table: Mapping[str, Any], source: str, below: Keys = ()) -> None:
        """Set everything that stands in ``table``."""
        for key, value in table.items():
            keys = (*below, str(key))
            if len(keys) == 2 and keys[0] == "databases" and isinstance(value, str):
                keys = (*keys, "url")
            if isinstance(value, Mapping) and value:
                self.put_table(value, source, keys)
            else:
                self.put(keys, dict(value) if isinstance(value, Mapping) else value, source)

    def expand_urls(self) -> None:
        """Take the URL of each database apart; the fields beside it hold."""
        databases = self.settings.get("databases")
        if not isinstance(databases, dict):
            return
        for name, database in databases.items():
            if not isinstance(database, dict) or "url" not in database:
                continue
            keys: Keys = ("databases", name)
            url, source = database.pop("url"), self.sources.pop((*keys, "url"))
            if isinstance(url, SecretStr):
                url = url.get_secret_value()
            self.urls.add(name)
            if not isinstance(url, str):
                self._refuse_url(name, source, "is not a text", "write the URL as a text")
                continue
            parsed = parse_url(url)
            for found in parsed.faults:
                self._refuse_url(name, source, found.problem, found.remedy)
            for below, value in _leaves(parsed.settings):
                if not _stands(database, below):
                    self.put((*keys, *below), value, f"URL in {source}")

    def _refuse_url(self, name: str, source: str, problem: str, remedy: str) -> None:
        self.unread.add(name)
        self.faults.append(ConfigurationFault(f"databases.{name}.url", source, f"the URL {problem}", remedy))

    def refuse_both(self, keys: Keys, source: str) -> None:
        """Note that something is a value in one place and a table in another."""
        self.faults.append(
            ConfigurationFault(
                ".".join(keys), source, "it is given both as a value and as a table of settings", "keep one of the two"
            )
        )


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """``SILLAR__DATABASES__MAIN__PORT=5433``: nested by double underscores, in lower case; an empty one is not set."""
    layer = Layer()
    for variable in sorted(environment):
        value: Any = environment[variable]
        if not variable.startswith(PREFIX) or value == "":
            continue
        source = f"environment {variable}"
        keys = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        if keys == ("url",):
            keys = ("databases", "default", "url")
        elif len(keys) == 2 and keys[0] == "databases":
            keys = (*keys, "url")
        if keys[-1] in _JSON_VARIABLES:
            try:
                value = json.loads(value)
            except ValueError:
                layer.faults.append(ConfigurationFault(".".join(keys), source, "the value is not JSON", _JSON_REMEDY))
                continue
        if "" in keys:
            layer.faults.append(ConfigurationFault(".".join(keys), source, "the name has an empty part",
                                                   "write SILLAR__DATABASES__<NAME>__<SETTING>"))  # fmt: skip
            continue
        layer.put(keys, value, source)
    layer.expand_urls()
    return layer


_JSON_REMEDY = 'write it as in NODES=[{"host": "replica", "role": "replica"}] or SERVER_SETTINGS={"work_mem": "64MB"}'


def file_layers(file: str | Path) -> tuple[Layer, dict[str, Layer]]:
    """A TOML file: what holds always, and the overlay of each profile (``[profiles.prod.databases.main]``)."""
    base, overlays = Layer(), {}
    path = Path(file)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        problem, remedy = f"is not TOML: {error}", "correct the line"
    except UnicodeDecodeError as error:
        problem, remedy = f"is not UTF-8 text at byte {error.start}", "save it as UTF-8"
    except OSError as error:
        problem, remedy = (
            f"cannot be read: {error.strerror}",
            f"give the path of a readable file (looked at {path.absolute()})",
        )
    else:
        problem = remedy = ""
    if problem:
        base.unread.add(None)
        base.faults.append(ConfigurationFault("file", str(path), problem, remedy))
        return base, {}
    profiles = content.pop("profiles", {})
    base.put_table(content, str(path))
    base.expand_urls()
    if not isinstance(profiles, dict):
        base.faults.append(
            ConfigurationFault("profiles", str(path), "is not a table", "write [profiles.prod] and so on")
        )
        profiles = {}
    for name, overlay in profiles.items():
        if name not in PROFILES or not isinstance(overlay, dict) or "profile" in overlay:
            base.faults.append(_wrong_profile(name, overlay, path))
            continue
        overlays[name] = Layer()
        overlays[name].put_table(overlay, f"{path} [profiles.{name}]")
        overlays[name].expand_urls()
    return base, overlays


def _wrong_profile(name: str, overlay: object, path: Path) -> ConfigurationFault:
    if name not in PROFILES:
        return ConfigurationFault(f"profiles.{name}", str(path), "is not a profile", suggestion(name, PROFILES))
    if not isinstance(overlay, dict):
        return ConfigurationFault(f"profiles.{name}", str(path), "is not a table", f"write [profiles.{name}]")
    return ConfigurationFault(f"profiles.{name}.profile", str(path), "an overlay cannot choose the profile",
                              "set profile at the top of the file, or SILLAR__PROFILE")  # fmt: skip


def merged(layers: list[Layer]) -> Layer:
    """All layers in one, later ones over earlier ones. A URL replaces what earlier layers say about the address."""
    result = Layer()
    for layer in layers:
        for name in layer.urls:
            _forget_address(result, name, layer)
        for keys, value in _leaves(layer.settings):
            _overlay(result, keys, value, layer.sources.get(keys, "unknown"))
        result.faults += layer.faults
        result.urls |= layer.urls
        result.unread |= layer.unread
    return result


def source_of(layer: Layer, keys: Keys) -> str:
    """Where the value at ``keys`` came from; for a table all sources that say something in it."""
    for depth in range(len(keys), 0, -1):
        if keys[:depth] in layer.sources:
            return layer.sources[keys[:depth]]
    for depth in range(len(keys), 0, -1):
        below = {source: None for found, source in layer.sources.items() if found[:depth] == keys[:depth]}
        if below:
            return ", ".join(below)
    return "not set anywhere"


def _forget_address(result: Layer, name: str, layer: Layer) -> None:
    known = result.settings.get("databases", {}).get(name)
    if not isinstance(known, dict):
        return
    engine = layer.settings["databases"][name].get("engine")
    gone = _REPLACED_BY_URL + (_REPLACED_BY_ENGINE if engine != known.get("engine", engine) else ())
    for key in gone:
        known.pop(key, None)
        _forget_sources(result, ("databases", name, key))


def _overlay(result: Layer, keys: Keys, value: Any, source: str) -> None:
    """Put one value over what is there, whatever that is."""
    table = result.settings
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            result.refuse_both(keys[:depth], source)
            return
    _forget_sources(result, keys)
    table[keys[-1]] = value
    result.sources[keys] = source


def _forget_sources(layer: Layer, keys: Keys) -> None:
    for found in [found for found in layer.sources if found[: len(keys)] == keys]:
        del layer.sources[found]


def _leaves(table: Mapping[str, Any], below: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*below, key))
        else:
            yield (*below, key), value


def _stands(table: Mapping[str, Any], keys: Keys) -> bool:
    """Whether ``table`` says something at ``keys`` or instead of a table on the way there."""
    value: Any = table
    for key in keys:
        if not isinstance(value, dict):
            return True
        if key not in value:
            return False
        value = value[key]
    return True
