# SPDX-License-Identifier: Apache-2.0
"""What an agent remembers of what it has seen."""

from __future__ import annotations

from contivpp_contiv.observer import Observer
from contivpp_core.node import NodeClaim

CLAIMS = (NodeClaim(node_id=1, name="b"), NodeClaim(node_id=4, name="gone"))


def look(observer: Observer, time: float, *claims: NodeClaim, nodes: dict[str, int] | None, node_id: int = 0):
    observer.note(observer.sight(node_id, claims, nodes, time=time, now=time), time, ["left"])
    return observer.sight(node_id, claims, nodes, time=time, now=time)


def test_looking_begins_when_the_own_node_is_there():
    observer = Observer("a", 100)
    assert look(observer, 5, nodes=None).looked == 0
    assert look(observer, 8, nodes={"b": 0}).looked == 0
    assert look(observer, 10, nodes={"a": 0}).looked == 0
    assert look(observer, 12, nodes={"a": 0}).looked == 2
    observer.cut_off()
    assert look(observer, 14, nodes={"a": 0}).looked == 0


def test_what_was_taken_while_looking_counts():
    observer = Observer("a", 100)
    look(observer, 1, *CLAIMS, nodes={"a": 0, "c": 7})
    assert look(observer, 2, nodes={"a": 0}).seen == {1, 4, 7}
    assert look(observer, 3, nodes={"a": 0}, node_id=9).seen == frozenset()


def test_nodes_are_missing_since_they_were_first_not_seen():
    observer = Observer("a", 100)
    look(observer, 1, *CLAIMS, nodes={"a": 0, "b": 0})
    look(observer, 5, *CLAIMS, nodes={"a": 0})
    assert observer.missing(6) == {"gone": 5, "left": 5, "b": 1}
    look(observer, 7, *CLAIMS, nodes={"a": 0, "gone": 0})
    assert observer.missing(8) == {"left": 7, "b": 3}
    look(observer, 9, *CLAIMS, nodes={})
    assert observer.missing(9) == {}


def test_an_id_is_held_for_as_long_as_a_freed_one_rests():
    observer = Observer("a", 100)
    assert not observer.holds(0)
    look(observer, 1, nodes={"a": 1}, node_id=1)
    observer.confirm(1)
    assert observer.holds(100)
    assert not observer.holds(101)
    assert look(observer, 200, nodes={"a": 1}, node_id=1).looked == 0  # it was away, and begins anew
    observer.confirm(200)
    observer.drop()
    assert not observer.holds(200)
