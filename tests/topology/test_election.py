"""Which of several nodes that claim to be the primary takes the writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sillar.capabilities import Capabilities
from sillar.engines.node import NodeRole, NodeStatus
from sillar.engines.postgresql.position import LogPosition
from sillar.pool.election import elect

PRIMARY, REPLICA, UNKNOWN = NodeRole.PRIMARY, NodeRole.REPLICA, NodeRole.UNKNOWN


@dataclass(eq=False)
class Claimant:
    """A node as an election sees it."""

    name: str
    role: NodeRole = PRIMARY
    term: int | None = 1
    lsn: int | None = None
    read_only: bool = False
    several: bool = False
    is_deposed: bool = False
    answers: bool = True
    asked_at: float = 2.0
    answered_at: float = 1.0
    capabilities: Capabilities = field(default_factory=lambda: Capabilities("PostgreSQL", []))

    @property
    def trusted_status(self) -> NodeStatus | None:
        if not self.answers:
            return None
        position = None if self.lsn is None else LogPosition("1", 1, self.lsn)
        return NodeStatus(
            "15", self.role, self.read_only, self.capabilities, self.name, "", self.term, position, None, self.several
        )


def test_the_only_primary_is_taken() -> None:
    one, two = Claimant("one"), Claimant("two", REPLICA)
    assert elect([two, one], None, None).primary is one


def test_nobody_is_taken_who_is_not_certainly_a_primary() -> None:
    nodes = [
        Claimant("a", REPLICA),
        Claimant("b", UNKNOWN),
        Claimant("c", answers=False),
        Claimant("d", read_only=True),
    ]
    election = elect(nodes, nodes[2], 1)
    assert election.primary is None
    assert not election.is_contested
    assert "no node that answers" in election.reason


def test_the_newer_term_wins() -> None:
    old, new = Claimant("old", term=3), Claimant("new", term=4)
    assert elect([old, new], old, 3).primary is new
    assert elect([old, new], new, 4).primary is new


def test_an_outdated_primary_is_not_taken_even_if_it_is_alone() -> None:
    election = elect([Claimant("old", term=3)], None, 4)
    assert election.primary is None
    assert "term 3" in election.reason
    assert "term 4" in election.reason


def test_two_of_one_term_are_contested_whoever_it_was_before() -> None:
    one, two = Claimant("one", lsn=5), Claimant("two", lsn=5)
    for current in (None, one, two):
        election = elect([one, two], current, 1)
        assert election.primary is None
        assert election.is_contested
        assert "one, two" in election.reason


def test_without_terms_the_one_that_has_everything_is_taken() -> None:
    behind, ahead = Claimant("behind", term=None, lsn=5), Claimant("ahead", term=None, lsn=9)
    assert elect([behind, ahead], behind, None).primary is ahead
    unknown = Claimant("unknown", term=None)
    assert elect([ahead, unknown], ahead, None).is_contested


def test_what_the_others_had_before_says_nothing() -> None:
    """They may have been written to since."""
    current, promoted = Claimant("current", term=None, lsn=5, asked_at=1.0), Claimant("promoted", term=None, lsn=9)
    promoted.answered_at = 1.5
    assert elect([current, promoted], current, None).is_contested
    current.asked_at = 1.6
    assert elect([current, promoted], current, None).primary is promoted


def test_a_deposed_one_is_not_taken_back() -> None:
    deposed, other = Claimant("deposed", term=None, is_deposed=True), Claimant("other", term=None)
    assert elect([deposed], None, None).primary is None
    assert "deposed" in elect([deposed], None, None).reason
    assert elect([deposed, other], None, None).primary is other


def test_where_everyone_takes_writes_one_is_taken_and_kept() -> None:
    nodes = [Claimant(name, term=None, several=True) for name in "abc"]
    assert elect(nodes, None, None).primary is nodes[0]
    assert elect(nodes, nodes[1], None).primary is nodes[1]
    nodes[1].answers = False
    assert elect(nodes, nodes[1], None).primary is nodes[0]


claimants = st.builds(
    Claimant,
    name=st.sampled_from("abc"),
    role=st.sampled_from(NodeRole),
    term=st.one_of(st.none(), st.integers(1, 3)),
    lsn=st.one_of(st.none(), st.integers(0, 3)),
    read_only=st.booleans(),
    is_deposed=st.booleans(),
    answers=st.booleans(),
)


@given(st.lists(claimants, max_size=4), st.data(), st.one_of(st.none(), st.integers(1, 3)))
def test_whoever_is_taken_is_a_primary_of_the_newest_term(
    nodes: list[Claimant], data: st.DataObject, term_max: int | None
) -> None:
    current = data.draw(st.sampled_from([None, *nodes]))
    chosen = elect(nodes, current, term_max).primary
    if chosen is None:
        return
    status = chosen.trusted_status
    assert status is not None
    assert status.role is PRIMARY
    assert not status.read_only
    assert not chosen.is_deposed
    claims = [each for each in nodes if each.answers and each.role is PRIMARY and not each.read_only]
    terms = [each.term for each in claims if each.term is not None]
    if terms:
        assert status.term == max(terms) >= (term_max or 0)
    rivals = [each for each in claims if each is not chosen and each.term == status.term and not each.is_deposed]
    for rival in rivals:
        assert isinstance(chosen, Claimant)
        assert chosen.lsn is not None
        assert rival.lsn is not None
        assert chosen.lsn > rival.lsn


@given(st.lists(claimants, max_size=4), st.one_of(st.none(), st.integers(1, 3)))
def test_who_was_asked_first_makes_no_difference(nodes: list[Claimant], term_max: int | None) -> None:
    """Two clients that see the same nodes in another order write to the same one, or to none."""
    assert elect(nodes, None, term_max).primary is elect(nodes[::-1], None, term_max).primary
