"""Where a MySQL or MariaDB server stands in the replication: the transactions that it has.

Sources: MySQL manual, "GTID Format and Storage" (sets, tags); MariaDB documentation, "Global Transaction ID"
(``gtid_current_pos``, ``gtid_binlog_pos``, ``gtid_binlog_state``); Galera documentation, "Global Transaction ID".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from sillar.errors import UsageError

Intervals = tuple[tuple[int, int], ...]
"""First and last number of each run, in order; two runs neither overlap nor touch."""

_CHUNK: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?::(?:[a-z_][a-z0-9_]{0,31}|[0-9]{1,19}(?:-[0-9]{1,19})?))+"
)
_DOMAIN_CHUNK: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")
_GALERA: Final = re.compile(r"galera:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([0-9]{1,19})")
_MYSQL_PREFIX: Final = "mysql:"
_MARIADB_PREFIX: Final = "mariadb:"


class GtidSet:
    """A set of transactions of MySQL, as ``@@global.gtid_executed`` spells it.

    Attributes:
        text: as it was given, without white space; equal texts are not parsed.
    """

    __slots__ = ("_covered", "_sources", "text")

    def __init__(self, text: str) -> None:
        self.text = "".join(text.split())
        self._sources: Mapping[str, Intervals] | None = None
        self._covered: GtidSet | None = None

    @property
    def sources(self) -> Mapping[str, Intervals]:
        """What is there of each source: a server's uuid, with a tag behind it where transactions have one.

        Raises:
            UsageError: the text is no GTID set.
        """
        if self._sources is None:
            sources: dict[str, Intervals] = {}
            for chunk in self.text.lower().split(",") if self.text else ():
                for source, intervals in _parsed(chunk):
                    sources[source] = _united((*sources[source], *intervals)) if source in sources else intervals
            self._sources = sources
        return self._sources

    def covers(self, other: Any) -> bool:
        """Whether every transaction of ``other`` is here."""
        if not isinstance(other, GtidSet):
            return False
        if other is self._covered or other.text == self.text:
            return True
        mine = self.sources
        for source, theirs in other.sources.items():
            ours = mine.get(source)
            if ours is not theirs and (ours is None or not _include(ours, theirs)):
                return False
        self._covered = other  # the same two are compared again with the next read
        return True

    def merged(self, other: Any) -> GtidSet:
        """The transactions of both."""
        if not isinstance(other, GtidSet) or self.covers(other):
            return self
        sources = dict(self.sources)
        for source, theirs in other.sources.items():
            sources[source] = _united((*sources.get(source, ()), *theirs))
        return GtidSet(",".join(f"{source}:{_spelled(intervals)}" for source, intervals in sources.items()))

    def encode(self) -> str:
        return _MYSQL_PREFIX + self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and (self.text == other.text or self.sources == other.sources)

    def __hash__(self) -> int:
        return hash(frozenset(self.sources.items()))

    def __repr__(self) -> str:
        return f"GtidSet({self.text!r})"


class DomainPosition:
    """The last transaction of each replication domain of MariaDB, and which transactions led there.

    A server applies a domain in order, so its last transaction ``(server, sequence)`` stands for all before it. After a
    failover the numbers go on with another server's: a higher number alone says nothing of a transaction that the
    former primary wrote. Those are looked up in what the server has logged; where it logs nothing of what it replays
    (without ``log_slave_updates``), a position of another server's is not covered.

    Args:
        domains: by domain the numbers that were reached, by the server that wrote the transaction. A node has one
            for each domain; two positions that were merged may have more, all of which are required.
        logged: by domain the highest number that was ever logged of each server (``gtid_binlog_state``).
    """

    __slots__ = ("_covered", "_last", "domains", "logged")

    def __init__(
        self, domains: Mapping[int, Mapping[int, int]], logged: Mapping[int, Mapping[int, int]] | None = None
    ) -> None:
        self.domains = domains
        self.logged: Mapping[int, Mapping[int, int]] = logged or {}
        self._last = {domain: max(servers.values()) for domain, servers in domains.items()}
        self._covered: DomainPosition | None = None

    def covers(self, other: Any) -> bool:
        """Whether every transaction up to ``other`` is certainly here."""
        if not isinstance(other, DomainPosition):
            return False
        if other is self._covered:
            return True
        for domain, servers in other.domains.items():
            mine = self.domains.get(domain)
            if mine is None:
                return False
            for server, number in servers.items():
                if mine.get(server, -1) >= number:
                    continue
                if self._last[domain] <= number or self.logged.get(domain, {}).get(server, -1) < number:
                    return False
        self._covered = other
        return True

    def merged(self, other: Any) -> DomainPosition:
        """What requires both."""
        if not isinstance(other, DomainPosition) or self.covers(other):
            return self
        if other.covers(self):
            return other
        return DomainPosition(_highest(self.domains, other.domains), _highest(self.logged, other.logged))

    def encode(self) -> str:
        chunks = (
            f"{domain}-{server}-{number}"
            for domain, servers in self.domains.items()
            for server, number in servers.items()
        )
        return _MARIADB_PREFIX + ",".join(chunks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DomainPosition) and (self.domains, self.logged) == (other.domains, other.logged)

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"DomainPosition({self.domains!r}, {self.logged!r})"

    @classmethod
    def of_server(cls, current: str, binlog: str, state: str, *, is_primary: bool) -> DomainPosition:
        """Where a server stands.

        Args:
            current: ``gtid_current_pos``: what it has replayed, or has written itself.
            binlog: ``gtid_binlog_pos``: what it has logged, also under another server's number (a point-in-time
                recovery writes so); of a replica it may run ahead of what can be read.
            state: ``gtid_binlog_state``.
            is_primary: what it has logged counts.
        """
        domains = dict(_by_domain(current))
        if is_primary:
            for domain, servers in _by_domain(binlog).items():
                if domain not in domains or max(servers.values()) > max(domains[domain].values()):
                    domains[domain] = servers
        return cls(domains, _by_domain(state))


class GaleraPosition:
    """The last write set that a member of a Galera cluster has committed: all members have them in one order."""

    __slots__ = ("cluster", "number")

    def __init__(self, cluster: str, number: int) -> None:
        self.cluster = cluster
        self.number = number

    def covers(self, other: Any) -> bool:
        return isinstance(other, GaleraPosition) and self.number >= other.number and self.cluster == other.cluster

    def merged(self, other: Any) -> GaleraPosition:
        """The later of the two."""
        return other if isinstance(other, GaleraPosition) and other.covers(self) else self

    def encode(self) -> str:
        return f"galera:{self.cluster}:{self.number}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GaleraPosition) and (self.cluster, self.number) == (other.cluster, other.number)

    def __hash__(self) -> int:
        return hash((self.cluster, self.number))

    def __repr__(self) -> str:
        return f"GaleraPosition({self.cluster!r}, {self.number})"


MySQLPosition = GtidSet | DomainPosition | GaleraPosition


def decode(text: str) -> MySQLPosition:
    """What ``encode`` of a position has written.

    Raises:
        UsageError: it is something else.
    """
    if text.startswith(_MYSQL_PREFIX):
        found = GtidSet(text.removeprefix(_MYSQL_PREFIX))
        if found.sources:
            return found
    elif text.startswith(_MARIADB_PREFIX):
        domains = _by_domain(text.removeprefix(_MARIADB_PREFIX))
        if domains:
            return DomainPosition(domains)
    elif match := _GALERA.fullmatch(text):
        return GaleraPosition(match[1], int(match[2]))
    raise UsageError("this is no position of MySQL (mysql:uuid:1-9), MariaDB (mariadb:0-1-9) or Galera (galera:uuid:9)")


# --- sets of numbers ---


@lru_cache(maxsize=1024)
def _parsed(chunk: str) -> tuple[tuple[str, Intervals], ...]:
    """The sources of one uuid. Of servers that write no more the text stays the same."""
    if _CHUNK.fullmatch(chunk) is None:
        raise UsageError("this is no GTID set of MySQL, as 00000000-0000-0000-0000-000000000000:1-9 is one")
    uuid, *parts = chunk.split(":")
    source = uuid
    found: dict[str, list[tuple[int, int]]] = {}
    for part in parts:
        if not part[0].isdigit():
            source = f"{uuid}:{part}"
            continue
        first, _, last = part.partition("-")
        found.setdefault(source, []).append((int(first), int(last or first)))
    return tuple((source, _united(intervals)) for source, intervals in found.items())


def _united(intervals: Any) -> Intervals:
    united: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if last < first:
            continue
        if united and first <= united[-1][1] + 1:
            united[-1] = (united[-1][0], max(united[-1][1], last))
        else:
            united.append((first, last))
    return tuple(united)


def _include(ours: Intervals, theirs: Intervals) -> bool:
    if len(ours) == 1:  # as nearly always
        first, last = ours[0]
        return not theirs or (first <= theirs[0][0] and theirs[-1][1] <= last)
    index = 0
    for first, last in theirs:
        while index < len(ours) and ours[index][1] < first:
            index += 1
        if index == len(ours) or ours[index][0] > first or ours[index][1] < last:
            return False
    return True


def _spelled(intervals: Intervals) -> str:
    return ":".join(f"{first}-{last}" if last > first else str(first) for first, last in intervals)


def _by_domain(text: str) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for chunk in text.split(",") if text else ():
        match = _DOMAIN_CHUNK.fullmatch(chunk.strip())
        if match is None:
            raise UsageError("this is no GTID position of MariaDB, as 0-1-9 is one")
        domain, server, number = map(int, match.groups())
        servers = found.setdefault(domain, {})
        servers[server] = max(number, servers.get(server, 0))
    return found


def _highest(one: Mapping[int, Mapping[int, int]], other: Mapping[int, Mapping[int, int]]) -> dict[int, dict[int, int]]:
    found = {domain: dict(servers) for domain, servers in one.items()}
    for domain, servers in other.items():
        mine = found.setdefault(domain, {})
        for server, number in servers.items():
            mine[server] = max(number, mine.get(server, 0))
    return found
