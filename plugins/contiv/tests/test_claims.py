# SPDX-License-Identifier: Apache-2.0
"""Node IDs in any interleaving of agents, losses and returns; and examples of each decision."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_contiv.claims import Adopt, Claim, Contested, Gone, Hold, Sight, Surrender, Wait, abandoned, decide
from contivpp_core.node import NodeClaim

from .claims_model import STEP, World

GENTLE = ("see", "act", "moment", "some time", "stop", "start", "cut off", "heal", "reflect", "add pods", "end pods")
LOSSES = ("save", "wipe", "put back")
NODES = ("long time", "delete node", "return node")
counts = st.one_of(st.integers(2, 5), st.integers(2, 50))


def happenings(*kinds: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 49)), max_size=40)


def play(count: int, steps: list[tuple[str, int]], *, lossy: bool = True) -> World:
    world = World(count, lossy=lossy)
    for what, index in steps:
        world.happen(what, world.machines[index % count])
    return world


@settings(max_examples=250, deadline=None)
@given(counts, happenings(*GENTLE, *LOSSES, *NODES, "lose ledger"))
def test_two_live_nodes_never_have_one_id_and_all_get_one_in_the_end(count, steps):
    world = play(count, steps)
    world.recover()
    ids = world.ids()
    assert 0 not in ids
    assert len(set(ids)) == count
    assert all(machine.observer.holds(world.time) for machine in world.machines)
    for machine in world.machines:
        assert world.nodes[machine.name] == machine.ledger
        assert world.book[machine.ledger].name == machine.name


@settings(max_examples=150, deadline=None)
@given(counts, happenings(*GENTLE, *LOSSES, "long time", "lose ledger"))
def test_a_node_that_is_not_deleted_keeps_its_id_even_without_its_ledger(count, steps):
    world = World(count)
    known: dict[str, int] = {}
    for what, index in [*steps, ("some time", 0)]:
        machine = world.machines[index % count]
        if what == "lose ledger":
            world.reflect()
        world.happen(what, machine)
        for each in world.machines:
            if each.ledger:
                assert known.setdefault(each.name, each.ledger) == each.ledger


@settings(max_examples=100, deadline=None)
@given(counts, happenings(*GENTLE))
def test_nodes_that_only_join_get_the_smallest_ids(count, steps):
    world = play(count, steps)
    world.recover()
    assert sorted(world.ids()) == list(range(1, count + 1))


@settings(max_examples=150, deadline=None)
@given(counts, happenings(*GENTLE, *NODES, "lose ledger"))
def test_a_freed_id_rests(count, steps):
    play(count, steps, lossy=False)  # each claim is checked there


@pytest.mark.parametrize("seed", range(5))
def test_fifty_nodes_in_a_long_disorder(seed):
    chance = random.Random(seed)
    kinds = (*GENTLE, *LOSSES, *NODES, "lose ledger")
    world = play(50, [(chance.choice(kinds), chance.randrange(50)) for _ in range(300)])
    world.recover()
    assert sorted(set(world.ids()) - {0}) == sorted(world.ids())


# --- without annotations: nothing but ledgers and the book


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 8), st.integers(0, 8), st.lists(st.sampled_from(("wipe", "restart")), max_size=4))
def test_who_has_an_id_keeps_it_before_newcomers_where_nobody_annotates(old, new, losses):
    world = World(old + new)
    world.nodes = {}
    sourced = False
    running = world.machines[:old]

    def pass_time() -> None:
        for _ in range(20):
            world.time += STEP
            for machine in running:
                claims = tuple(world.book.values())
                for _ in range(2):
                    sight = machine.observer.sight(
                        machine.ledger, claims, None, time=world.time, now=world.time, sourced=sourced
                    )
                    machine.observer.note(sight, world.time)
                world.carry_out(machine, decide(sight), world.time)

    pass_time()
    before = [machine.ledger for machine in running]
    for loss in losses:
        if loss == "wipe":
            world.book = {}
        for machine in running:
            if loss == "restart":
                machine.restart()
    running = world.machines
    for machine in running[old:]:
        machine.restart()
    pass_time()
    assert world.ids()[:old] == before
    assert sorted(world.ids()) == list(range(1, old + new + 1))


# --- examples of each decision


def held(node_id: int, name: str) -> NodeClaim:
    return NodeClaim(node_id=node_id, name=name)


def freed(node_id: int, name: str, at: float) -> NodeClaim:
    return NodeClaim(node_id=node_id, name=name, freed=at)


NEW = Sight(name="a", nodes={"a": 0, "b": 0}, looked=9.0, now=1000.0)
OLD = Sight(name="a", node_id=3, nodes={"a": 3, "b": 0}, looked=0.0, now=1000.0)


def seen(sight: Sight, **changes: Any) -> Sight:
    return msgspec.structs.replace(sight, **changes)


@pytest.mark.parametrize(
    ("sight", "expected"),
    [
        pytest.param(NEW, Claim(held(1, "a"), None), id="a new node takes the smallest ID"),
        pytest.param(seen(NEW, looked=1.0), "when all who have an ID", id="but not at once"),
        pytest.param(seen(NEW, nodes={"b": 0}), "no Node object a", id="nor before it is known to Kubernetes"),
        pytest.param(seen(NEW, nodes=None), "no Node object a", id="nor on what may be out of date"),
        pytest.param(seen(NEW, claims=(held(1, "b"),)), Claim(held(2, "a"), None), id="1 is taken"),
        pytest.param(seen(NEW, claims=(held(1, ""),)), Claim(held(2, "a"), None), id="1 is taken by whomever"),
        pytest.param(seen(NEW, nodes={"a": 0, "b": 1}), Claim(held(2, "a"), None), id="1 is on another's Node object"),
        pytest.param(seen(NEW, seen=frozenset({1})), Claim(held(2, "a"), None), id="1 was taken a moment ago"),
        pytest.param(seen(NEW, claims=(freed(1, "b", 500.0),)), Claim(held(2, "a"), None), id="1 rests"),
        pytest.param(
            seen(NEW, claims=(freed(1, "b", 400.0),)), Claim(held(1, "a"), freed(1, "b", 400.0)), id="1 has rested"
        ),
        pytest.param(seen(NEW, claims=(held(4, "a"),)), Adopt(4), id="the ledger is lost, the book knows"),
        pytest.param(seen(NEW, nodes={"a": 4}, looked=0.0), Claim(held(4, "a"), None), id="only the annotation knows"),
        pytest.param(seen(NEW, nodes={"a": 4, "b": 4}), Claim(NodeClaim(node_id=1, name="a", replaces=4), None),
                     id="two nodes with one annotation"),
        pytest.param(OLD, Claim(held(3, "a"), None), id="the book was lost"),
        pytest.param(seen(OLD, claims=(held(3, "a"),)), Hold(), id="all is well"),
        pytest.param(seen(OLD, claims=(held(3, "a"), held(5, "a"))), Surrender(held(5, "a")), id="an older claim"),
        pytest.param(seen(OLD, claims=(held(3, "b"),)), Contested("b"), id="another has it"),
        pytest.param(seen(OLD, nodes={"a": 0, "b": 3}), Contested("b"), id="another had it before the book was lost"),
        pytest.param(seen(OLD, nodes={"a": 0, "b": 3}, claims=(held(3, "a"),)), Contested("b", held(3, "a")),
                     id="the book was put back to before another had it"),
        pytest.param(seen(OLD, nodes={"a": 0}), "claimed again when", id="nothing confirms the ledger yet"),
        pytest.param(seen(OLD, nodes={}, held=True), Claim(held(3, "a"), None), id="all is lost while it runs"),
        pytest.param(seen(OLD, nodes={"b": 0}, claims=(freed(3, "a", 900.0),)), Gone(900.0), id="its node was deleted"),
        pytest.param(seen(OLD, claims=(freed(3, "a", 900.0),)), Claim(held(3, "a"), freed(3, "a", 900.0)),
                     id="its node is back"),
        pytest.param(seen(OLD, configured=True, nodes=None), Claim(held(3, "a"), None), id="the operator says so"),
    ],
)  # fmt: skip
def test_decisions(sight, expected):
    found = decide(sight)
    if isinstance(expected, str):
        assert isinstance(found, Wait)
        assert expected in found.reason
    else:
        assert found == expected


def test_who_frees():
    sight = seen(OLD, held=True, nodes={"a": 3}, claims=(held(1, "b"), held(2, ""), held(3, "a"), freed(4, "c", 1.0)))
    gone = {"b": 70.0, "c": 70.0, "d": 70.0, "e": 5.0}
    assert abandoned(sight, gone, ("d", "e"), 60.0) == [held(1, "b"), "d"]
    for unsure in ({"nodes": {}}, {"nodes": None}, {"sourced": False}, {"held": False}):
        assert abandoned(seen(sight, **unsure), gone, ("d",), 60.0) == []
    assert abandoned(seen(sight, nodes={"a": 3, "b": 0}), gone, (), 60.0) == []
