"""The arithmetic of positions, against naive models."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sillar.engines.mysql.position import DomainPosition, GaleraPosition, GtidSet, decode
from sillar.errors import UsageError

UUIDS = [f"{digit * 8}-0000-0000-0000-00000000000{digit}" for digit in "1a"]
SOURCES = [*UUIDS, f"{UUIDS[0]}:nightly", f"{UUIDS[1]}:nightly"]
TRANSACTIONS = st.frozensets(st.tuples(st.sampled_from(SOURCES), st.integers(1, 12)), max_size=30)


def spelled(transactions: frozenset[tuple[str, int]]) -> str:
    """As MySQL writes a set: uuid:1-3:5:tag:1, by uuid; runs are not joined here, which is allowed as well."""
    chunks = []
    for uuid in UUIDS:
        text = ""
        for source in (uuid, f"{uuid}:nightly"):
            numbers = sorted(number for each, number in transactions if each == source)
            if numbers:
                text += (":nightly" if source != uuid else "") + "".join(f":{number}" for number in numbers)
        if text:
            chunks.append(uuid.upper() + text)
    return ",\n".join(chunks)


def elements(found: GtidSet) -> set[tuple[str, int]]:
    return {
        (source, number)
        for source, intervals in found.sources.items()
        for first, last in intervals
        for number in range(first, last + 1)
    }


@settings(deadline=None)
@given(TRANSACTIONS, TRANSACTIONS)
def test_a_set_covers_its_subsets(mine: frozenset[tuple[str, int]], theirs: frozenset[tuple[str, int]]) -> None:
    one, other = GtidSet(spelled(mine)), GtidSet(spelled(theirs))
    assert one.covers(other) == (theirs <= mine)
    assert one.covers(other) == (theirs <= mine)  # from its memory
    assert elements(one.merged(other)) == mine | theirs
    assert one.merged(other).covers(one)
    assert one.merged(other).covers(other)
    assert (one == other) == (mine == theirs)
    if mine == theirs:
        assert hash(one) == hash(other)
    if mine:
        assert decode(one.encode()) == one


def test_a_set_as_the_server_writes_it() -> None:
    text = f"{UUIDS[0]}:1-5:7:nightly:1-2,\n{UUIDS[1]}:3"
    found = GtidSet(text)
    assert found.sources == {UUIDS[0]: ((1, 5), (7, 7)), SOURCES[2]: ((1, 2),), UUIDS[1]: ((3, 3),)}
    assert GtidSet(f"{UUIDS[0]}:1-3,{UUIDS[0]}:4:9-8") == GtidSet(f"{UUIDS[0]}:1-4")
    assert GtidSet("").covers(GtidSet(""))
    assert "1-5:7" in repr(found)


@st.composite
def histories(draw: Any) -> list[list[tuple[int, int]]]:
    """Lines of a domain that branch where a server was promoted: each a list of (server, sequence)."""
    lines: list[list[tuple[int, int]]] = [[]]
    for server in range(1, draw(st.integers(1, 5)) + 1):
        parent = lines[draw(st.integers(0, len(lines) - 1))]
        line = list(parent[: draw(st.integers(0, len(parent)))])
        for _ in range(draw(st.integers(1, 4))):
            line.append((server, len(line) + 1))
        lines.append(line)
    return lines


def position_after(line: list[tuple[int, int]], *, logs: bool) -> DomainPosition:
    logged: dict[int, int] = dict(line)
    current, state = (f"0-{line[-1][0]}-{line[-1][1]}", logged) if line else ("", {})
    text = ",".join(f"0-{server}-{number}" for server, number in state.items()) if logs else ""
    return DomainPosition.of_server(current, "", text, is_primary=False)


@settings(deadline=None)
@given(histories(), st.data())
def test_a_domain_covers_what_led_to_its_last_transaction(lines: list[list[tuple[int, int]]], data: Any) -> None:
    mine, theirs, third = (
        line[: data.draw(st.integers(0, len(line)))] for line in (data.draw(st.sampled_from(lines)) for _ in range(3))
    )
    one, other, another = (position_after(line, logs=True) for line in (mine, theirs, third))
    is_prefix = mine[: len(theirs)] == theirs
    assert one.covers(other) == is_prefix
    assert one.covers(other) == is_prefix
    if position_after(mine, logs=False).covers(other):
        assert is_prefix  # it is careful where it does not know
    if mine and theirs and mine[-1][0] == theirs[-1][0] and is_prefix:
        assert position_after(mine, logs=False).covers(other)
    both = other.merged(another)
    assert both.covers(other)
    assert both.covers(another)
    assert one.covers(both) == (is_prefix and mine[: len(third)] == third)
    if theirs:
        assert one.covers(decode(other.encode())) == is_prefix
        assert decode(other.encode()).covers(other)


def test_what_a_primary_has_logged_under_another_number_counts() -> None:
    assert DomainPosition.of_server("0-1-5", "0-7-9,3-1-2", "", is_primary=True).domains == {0: {7: 9}, 3: {1: 2}}
    assert DomainPosition.of_server("0-1-5", "0-7-9,3-1-2", "", is_primary=False).domains == {0: {1: 5}}
    assert DomainPosition.of_server("0-1-5", "0-1-4", "", is_primary=True).domains == {0: {1: 5}}


def test_domains_are_counted_by_themselves() -> None:
    one = DomainPosition({0: {1: 5}, 2: {1: 3}})
    assert not one.covers(DomainPosition({0: {1: 5}, 4: {1: 1}}))
    assert not one.covers(DomainPosition({2: {1: 4}}))
    assert one.covers(DomainPosition({2: {1: 3}}))
    assert DomainPosition({0: {1: 5}}).merged(DomainPosition({2: {1: 3}})) == one
    assert hash(one) == hash(DomainPosition({0: {1: 5}, 2: {1: 3}}))
    assert repr(one) == "DomainPosition({0: {1: 5}, 2: {1: 3}}, {})"


def test_members_of_a_cluster_count_write_sets() -> None:
    one, later = GaleraPosition(UUIDS[0], 5), GaleraPosition(UUIDS[0], 7)
    assert later.covers(one)
    assert later.covers(later)
    assert not one.covers(later)
    assert not later.covers(GaleraPosition(UUIDS[1], 5))
    assert one.merged(later) is later
    assert later.merged(one) is later
    assert decode(later.encode()) == later
    assert hash(later) == hash(decode(later.encode()))
    assert repr(one).endswith(", 5)")


def test_positions_of_different_kinds_are_never_covered() -> None:
    kinds = [GtidSet(f"{UUIDS[0]}:1"), DomainPosition({0: {1: 5}}), GaleraPosition(UUIDS[0], 5)]
    for one in kinds:
        for other in kinds:
            assert one.covers(other) == (one is other)
            assert one.merged(other) is one


@pytest.mark.parametrize(
    "text",
    ["", "pg:1:1:0/0", "mysql:", "mysql:abc:1", f"mysql:{UUIDS[0]}", f"mysql:{UUIDS[0]}:1-", "mariadb:", "mariadb:0-1",
     "mariadb:0-1-2;drop", f"galera:{UUIDS[0]}:-1", f"galera:{UUIDS[0]}"],
)  # fmt: skip
def test_other_text_is_no_position(text: str) -> None:
    with pytest.raises(UsageError, match=r"GTID|position of MySQL"):
        decode(text)


def test_a_read_costs_microseconds_with_a_long_history() -> None:
    """Two hundred former primaries and ten thousand gaps: parsed once, compared in no time, however often it grows."""
    old = [f"{number:08x}-0000-0000-0000-000000000000:" + ":".join(str(2 * each + 1) for each in range(50))
           for number in range(200)]  # fmt: skip
    GtidSet(",".join(old)).sources  # noqa: B018 - fills the cache
    grown = [GtidSet(",".join([f"{UUIDS[1]}:1-{count}", *old])) for count in range(1, 51)]
    begin = time.thread_time()  # others may use the processor as well
    for mark, reached in itertools.pairwise(grown):
        assert reached.covers(mark)
        for _ in range(1000):
            reached.covers(mark)
    assert (time.thread_time() - begin) / 50_000 < 20e-6
