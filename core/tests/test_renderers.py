# SPDX-License-Identifier: Apache-2.0
"""The renderer engine: incremental output equals output from scratch, and nothing runs that need not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.engine import Engine
from contivpp_core.errors import RendererError
from contivpp_core.items import Item, Owner
from contivpp_core.records import Record, Table
from contivpp_core.renderers import View
from contivpp_core.selectors import LabelSelector, Requirement
from contivpp_core.state import Delete, Put, Ready, State, Write
from contivpp_core.testing.laws import check_renderers


class Box(Record, frozen=True, kw_only=True):
    name: str
    team: str = ""
    colour: str = ""
    noise: int = 0


class Rule(Record, frozen=True, kw_only=True):
    name: str
    selector: LabelSelector = LabelSelector()
    friend: str = ""


class Summary(Record, frozen=True, kw_only=True):
    team: str
    boxes: tuple[str, ...]


class Thing(Item, frozen=True, kw_only=True):
    kind: ClassVar[str] = "test/thing"
    name: str
    value: Any = None

    @property
    def key(self) -> str:
        return f"test/thing/{self.name}"


BOX = Table(
    "Box",
    Box,
    key=lambda box: box.name,
    indexes={"team": lambda box: (box.team,)},
    labels=lambda box: {"team": box.team, "colour": box.colour},
    namespace=lambda box: box.team,
)
RULE = Table("Rule", Rule, key=lambda rule: rule.name)
SUMMARY = Table("Summary", Summary, key=lambda summary: summary.team, derived=True)


def colours(view: View, team: str) -> tuple[str, ...]:
    """A memoised function that reads whole records but gives back little."""
    return tuple(sorted({box.colour for box in view.where("Box", team=team)}))


class Base:
    reads: frozenset[str] = frozenset()
    produces = frozenset({"test/thing"})
    derives: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.runs: list[str] = []


class Rules(Base):
    """Rule -> what it selects, which colours its friends' team has, and its friend itself."""

    name = "rules"
    table = "Rule"
    reads = frozenset({"Box", "Summary"})

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        self.runs.append(key)
        rule = view.get("Rule", key)
        yield Thing(name=f"rule-{key}", value=view.select("Box", labels=rule.selector, fields=("colour",)))
        friend = view.get("Box", rule.friend) if rule.friend else None
        if friend is not None:
            yield Thing(name=f"colours-{key}", value=view.call(colours, friend.team))
            yield Thing(name=f"scoped-{key}", value=view.select("Box", namespaces=[friend.team]))
            yield Thing(name=f"summary-{key}", value=view.get("Summary", friend.team))
        if key == "c":  # one that must not guess
            yield Thing(name="known", value=(view.ready("Box"), view.ready("Summary")))


class Summaries(Base):
    """Box -> the summary of its team (every box of a team derives the same one), and a shared thing."""

    name = "summaries"
    table = "Box"
    derives = frozenset({"Summary"})

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        self.runs.append(key)
        box = view.get("Box", key)
        boxes = tuple(other.name for other in view.where("Box", team=box.team))
        yield Summary(team=box.team, boxes=boxes)
        yield Thing(name=f"team-{box.team}", value=boxes)
        if box.noise == 3:
            raise ValueError("three")


def engine(writes: Iterable[Write] = ()) -> Engine:
    state = State((BOX, RULE, SUMMARY))
    made = Engine(state, [Rules(), Summaries()])
    write(made, writes)
    return made


def write(made: Engine, writes: Iterable[Write]) -> None:
    changes, flips = made.state.apply(writes)
    made.note(changes, flips)
    for _ in made.run():
        pass


def runs(made: Engine, name: str) -> list[str]:
    renderer = made.renderers[name]
    assert isinstance(renderer, Base)
    done, renderer.runs = renderer.runs, []
    return sorted(done)


names = st.sampled_from("abc")
teams = st.sampled_from(("x", "y"))
boxes = st.builds(Box, name=names, team=teams, colour=st.sampled_from(("red", "blue")), noise=st.integers(0, 2))
selectors = st.sampled_from(
    (
        LabelSelector(),
        LabelSelector(labels=(("team", "x"),)),
        LabelSelector(labels=(("team", "x"), ("colour", "red"))),
        LabelSelector(expressions=(Requirement("colour", "In", ("red",)),)),
        LabelSelector(expressions=(Requirement("colour", "NotIn", ("red",)),)),
        LabelSelector(expressions=(Requirement("size", "DoesNotExist"),)),
    )
)
rules = st.builds(Rule, name=names, selector=selectors, friend=st.sampled_from(("", "a", "b", "nobody")))
writes = st.lists(
    st.one_of(
        boxes.map(lambda box: Put("Box", box)),
        rules.map(lambda rule: Put("Rule", rule)),
        names.map(lambda name: Delete("Box", name)),
        names.map(lambda name: Delete("Rule", name)),
        st.builds(Ready, st.sampled_from(("Box", "Rule")), st.booleans()),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(writes, max_size=8))
def test_renderers_keep_the_laws(batches: list[list[Write]]) -> None:
    check_renderers((BOX, RULE, SUMMARY), lambda: [Rules(), Summaries()], batches)


def test_a_renderer_that_looks_past_its_view_breaks_a_law() -> None:
    seen: list[str] = []

    class Counting(Summaries):
        def render(self, view: View, key: str) -> Iterable[Item | Record]:
            seen.append(key)
            yield Thing(name=key, value=len(seen))

    with pytest.raises(AssertionError, match="incremental output equals output from scratch"):
        check_renderers((BOX, RULE, SUMMARY), lambda: [Counting()], [[Put("Box", Box(name="a"))]])


def test_only_who_read_what_changed_runs_again() -> None:
    made = engine(
        [
            Put("Box", Box(name="a", team="x", colour="red")),
            Put("Box", Box(name="b", team="y", colour="red")),
            Put("Rule", Rule(name="r", selector=LabelSelector(labels=(("team", "x"),)))),
            Put("Rule", Rule(name="s", friend="nobody")),
        ]
    )
    runs(made, "rules")
    write(made, [Put("Box", Box(name="b", team="y", colour="red", noise=1))])
    assert runs(made, "rules") == []  # nobody projects 'noise'
    write(made, [Put("Box", Box(name="b", team="y", colour="blue"))])
    assert runs(made, "rules") == ["s"]  # the empty selector of s projects the colour; r selects team x only
    write(made, [Put("Box", Box(name="nobody", team="z"))])
    assert runs(made, "rules") == ["s"]  # what was read and not found counts as read


def test_an_equal_result_of_a_function_stops_the_change() -> None:
    made = engine(
        [
            Put("Box", Box(name="a", team="x", colour="red")),
            Put("Box", Box(name="b", team="x", colour="red")),
            Put("Rule", Rule(name="r", friend="a", selector=LabelSelector(labels=(("team", "none"),)))),
        ]
    )
    runs(made, "rules")
    write(made, [Put("Box", Box(name="b", team="x", colour="red", noise=2))])
    assert runs(made, "rules") == []
    write(made, [Put("Box", Box(name="b", team="x", colour="blue"))])
    assert runs(made, "rules") == ["r"]


def test_a_failing_renderer_keeps_its_last_output_and_is_reported() -> None:
    made = engine([Put("Box", Box(name="a", team="x"))])
    before = dict(made.owners)
    write(made, [Put("Box", Box(name="a", team="x", noise=3))])
    assert made.owners == before
    assert made.failures == {Owner("summaries", "a"): "ValueError: three"}
    assert not made.healthy("summaries")
    write(made, [Put("Box", Box(name="a", team="y"))])
    assert made.failures == {}
    assert "test/thing/team-y" in made.owners


def test_reads_that_nobody_needs_are_forgotten() -> None:
    made = engine([Put("Box", Box(name="a", team="x")), Put("Rule", Rule(name="r", friend="a"))])
    write(made, [Delete("Rule", "r"), Delete("Box", "a")])
    assert made._nodes == {}
    assert made.owners == {}


def test_completeness_follows_derived_tables() -> None:
    made = engine()
    assert not made.complete("rules")
    write(made, [Ready("Rule")])
    made.state.apply([Ready("Rule")])
    assert not made.complete("rules")
    made.state.apply([Ready("Box")])
    assert made.complete("rules")
    assert made.complete("summaries")


def test_who_asks_whether_a_table_is_complete_is_told_when_it_is() -> None:
    made = engine([Put("Rule", Rule(name="c")), Put("Rule", Rule(name="a"))])
    known = made.owners["test/thing/known"][Owner("rules", "c")]
    assert known == Thing(name="known", value=(False, False))
    runs(made, "rules")
    write(made, [Ready("Box")])
    assert made.owners["test/thing/known"][Owner("rules", "c")] == Thing(name="known", value=(True, True))
    assert runs(made, "rules") == ["c"]  # nobody else asked
    write(made, [Ready("Box", False)])
    assert made.owners["test/thing/known"][Owner("rules", "c")] == known


def test_what_a_renderer_may_not_do_is_refused() -> None:
    class Greedy(Rules):
        name = "greedy"
        reads = frozenset()

    state = State((BOX, RULE, SUMMARY))
    made = Engine(state, [Greedy()])
    write(made, [Put("Rule", Rule(name="r"))])
    assert "add it to its 'reads'" in made.failures[Owner("greedy", "r")]

    class Loop(Base):
        name = "loop"
        table = "Summary"
        derives = frozenset({"Summary"})

        def render(self, view: View, key: str) -> Iterable[Item | Record]:
            return ()

    with pytest.raises(RendererError, match="derive from each other"):
        Engine(State((BOX, RULE, SUMMARY)), [Loop()])
    with pytest.raises(RendererError, match="two renderers"):
        Engine(State((BOX, RULE, SUMMARY)), [Rules(), Rules()])


def test_descendants_include_what_comes_from_derived_records() -> None:
    class OnSummary(Base):
        name = "on-summary"
        table = "Summary"

        def render(self, view: View, key: str) -> Iterable[Item | Record]:
            yield Thing(name=f"derived-{key}")

    made = Engine(State((BOX, RULE, SUMMARY)), [Summaries(), OnSummary()])
    write(made, [Put("Box", Box(name="a", team="x"))])
    assert made.descendants("Box", "a") == {Owner("summaries", "a"), Owner("on-summary", "x")}
