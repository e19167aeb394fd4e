"""Indexes of collections, compared with what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_UNIMPORTANT: Final = frozenset(
    {
        "v",
        "ns",
        "key",
        "name",
        "background",
        "storageEngine",
        "textIndexVersion",
        "2dsphereIndexVersion",
        "2dIndexVersion",
    }
)
_TEXT_DEFAULTS: Final = {"default_language": "english", "language_override": "language"}


@dataclass(frozen=True, slots=True)
class Index:
    """One index.

    Attributes:
        name: on the server.
        keys: fields in order, each with its direction or kind (1, -1, ``text``, ``2dsphere``, ``hashed``).
        options: what is not the server's default (``unique``, ``expireAfterSeconds``, …).
    """

    name: str
    keys: tuple[tuple[str, int | str], ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def is_like(self, other: Index) -> bool:
        """Whether they do the same, whatever their names."""
        return _comparable(self.keys) == _comparable(other.keys) and _same_options(self.options, other.options)


@dataclass(frozen=True, slots=True)
class IndexDifference:
    """An index that exists otherwise than it is asked for."""

    wanted: Index
    existing: Index


@dataclass(frozen=True, slots=True)
class IndexDrift:
    """How the indexes of a collection differ from those that its documents ask for.

    Attributes:
        collection: its name.
        missing: asked for, and not there.
        superfluous: there, and not asked for.
        different: there under the same name or on the same fields, with other fields or options.
    """

    collection: str
    missing: tuple[Index, ...] = ()
    superfluous: tuple[Index, ...] = ()
    different: tuple[IndexDifference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.superfluous or self.different)


def wanted_indexes(documents: Iterable[Mapping[str, Any]]) -> list[Index]:
    """From what Beanie's models say; the same index of several documents of a collection is one."""
    found: list[Index] = []
    for each in documents:
        index = _index(str(each["name"]), list(each["key"].items()), each)
        if not any(index.is_like(other) for other in found):
            found.append(index)
    return found


def existing_indexes(information: Mapping[str, Mapping[str, Any]]) -> list[Index]:
    """From what the driver's ``index_information`` says; without the one of ``_id``."""
    found = []
    for name, each in information.items():
        keys = [(key, direction) for key, direction in each["key"] if key not in ("_fts", "_ftsx")]
        keys += [(key, "text") for key in each.get("weights", {})]
        if keys != [("_id", 1)]:
            found.append(_index(name, keys, each))
    return found


def drift_of(collection: str, wanted: Sequence[Index], existing: Sequence[Index]) -> IndexDrift:
    """Compare: an index is the same whatever its name, since the server takes no second one like it."""
    rest = list(existing)
    missing: list[Index] = []
    for index in wanted:
        same = next((each for each in rest if index.is_like(each)), None)
        if same is None:
            missing.append(index)
        else:
            rest.remove(same)
    different = []
    for index in list(missing):
        other = next((each for each in rest if each.name == index.name), None) or next(
            (each for each in rest if _comparable(each.keys) == _comparable(index.keys)), None
        )
        if other is not None:
            different.append(IndexDifference(index, other))
            missing.remove(index)
            rest.remove(other)
    return IndexDrift(collection, tuple(missing), tuple(rest), tuple(different))


def _index(name: str, keys: Iterable[tuple[str, Any]], details: Mapping[str, Any]) -> Index:
    directions = tuple((key, int(each) if isinstance(each, float) else each) for key, each in keys)
    return Index(name, directions, dict(_options(details)))


def _options(details: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in details.items():
        is_default = value is False or value is None or value == _TEXT_DEFAULTS.get(name, object())
        if name == "weights":
            is_default = all(weight == 1 for weight in value.values())
        if name not in _UNIMPORTANT and not is_default:
            yield name, value


def _comparable(keys: tuple[tuple[str, int | str], ...]) -> list[tuple[str, int | str]]:
    """The server sorts the fields of a text index."""
    texts = sorted(key for key in keys if key[1] == "text")
    return [key for key in keys if key[1] != "text"] + texts


def _same_options(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if set(one) != set(other):
        return False
    return all(
        _same_collation(value, other[name]) if name == "collation" else value == other[name]
        for name, value in one.items()
    )


def _same_collation(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The server fills in what was left out."""
    return all(one[name] == other[name] for name in set(one) & set(other))
