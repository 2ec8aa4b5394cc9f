# SPDX-License-Identifier: Apache-2.0
"""A model of a cluster whose nodes want IDs, around the real decisions: agents, the store, and Kubernetes.

What the model takes for granted, and `docs/node-identity.md` says: whoever mirrors Node objects does so again within a
second of a loss of the store; the store is not lost in the moments between a claim and its annotation; and a node is
forgotten when both are lost: its claim, while it cannot claim again, and its Node object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from contivpp_contiv.claims import (
    FIRST_CLAIM_SECONDS,
    Adopt,
    Claim,
    Contested,
    Gone,
    Hold,
    Surrender,
    Wait,
    abandoned,
    decide,
)
from contivpp_contiv.observer import Observer
from contivpp_core.identity import annotation_for
from contivpp_core.node import NodeClaim

REST, GRACE, STEP = 100.0, 10.0, 0.5


@dataclass
class Machine:
    """A node's agent: `ledger` outlives it, and so do its pods; the rest is one run's."""

    name: str
    ledger: int = 0
    pods: bool = False
    running: bool = True
    reachable: bool = True
    observer: Observer = field(default_factory=lambda: Observer("", REST))
    snapshot: tuple[tuple[NodeClaim, ...], dict[str, int], float] | None = None
    owner: bool = False  # was sure of its ID when it was last heard of
    forgotten: bool = False  # neither book nor Node object know of it any more

    def restart(self) -> None:
        self.observer, self.snapshot = Observer(self.name, REST), None


class World:
    """Machines, the API server's Node objects, and the store: the book, and the mirror of the Node objects."""

    def __init__(self, count: int, *, lossy: bool = True) -> None:
        self.time = 0.0
        self.lossy = lossy
        self.machines = [Machine(f"n{index:02}") for index in range(count)]
        for machine in self.machines:
            machine.restart()
        self.nodes: dict[str, int] = {machine.name: 0 for machine in self.machines}
        self.book: dict[int, NodeClaim] = {}
        self.mirror: dict[str, int] = {}
        self.copy: tuple[dict[int, NodeClaim], dict[str, int]] = ({}, {})
        self.freed: dict[int, float] = {}

    # --- an agent

    def see(self, machine: Machine) -> None:
        if machine.running and not machine.reachable:
            machine.observer.cut_off()
        elif machine.running:
            machine.snapshot = (tuple(self.book[key] for key in sorted(self.book)), dict(self.mirror), self.time)

    def act(self, machine: Machine) -> None:
        if machine.snapshot is None or not (machine.running and machine.reachable):
            return
        (claims, nodes, when), machine.snapshot = machine.snapshot, None
        sight = machine.observer.sight(machine.ledger, claims, nodes, time=self.time, now=self.time)
        machine.observer.note(sight, self.time)
        sight = machine.observer.sight(machine.ledger, claims, nodes, time=self.time, now=self.time)
        decision = decide(sight)
        self.carry_out(machine, decision, when)
        for claim in abandoned(sight, machine.observer.missing(self.time), (), GRACE):
            assert isinstance(claim, NodeClaim)
            if claim.name not in self.mirror and self.exchange(claim, self.resting(claim)):
                self.forget_owner(claim.name)
        self.check()

    def carry_out(self, machine: Machine, decision: Any, when: float) -> None:
        if isinstance(decision, Hold):
            self.holds(machine, when)
        elif isinstance(decision, Adopt):
            machine.ledger = decision.node_id
            self.holds(machine, when)
        elif isinstance(decision, Claim):
            wanted, over = decision.wanted, decision.over
            if not machine.ledger and not self.nodes.get(machine.name) and over is not None and over.name:
                assert self.time >= over.freed + REST
            if self.exchange(over, wanted):
                if not machine.ledger and not self.lossy and not self.nodes.get(machine.name):
                    assert self.time >= self.freed.get(wanted.node_id, -REST) + REST
                if not machine.ledger:
                    machine.ledger = wanted.node_id
                self.holds(machine, when)
        elif isinstance(decision, Surrender):
            self.exchange(decision.held, self.resting(decision.held))
        elif isinstance(decision, Contested):
            assert decision.holder != machine.name
            machine.owner = False
            machine.observer.drop()
            if decision.surrender is not None:
                self.exchange(decision.surrender, self.resting(decision.surrender))
            elif not machine.pods:
                machine.ledger = 0
        else:
            assert isinstance(decision, Wait | Gone)

    def holds(self, machine: Machine, when: float) -> None:
        machine.observer.confirm(when)
        entry = self.book.get(machine.ledger)
        if entry is not None and entry.held and entry.name == machine.name:  # and not only when it was seen
            machine.owner, machine.forgotten = True, False

    def exchange(self, old: NodeClaim | None, new: NodeClaim) -> bool:
        if self.book.get(new.node_id) != old:
            return False
        self.book[new.node_id] = new
        if new.freed:
            self.freed[new.node_id] = self.time
        return True

    def resting(self, claim: NodeClaim) -> NodeClaim:
        return NodeClaim(node_id=claim.node_id, name=claim.name, freed=self.time or 0.001)

    def forget_owner(self, name: str) -> None:
        for machine in self.machines:
            machine.owner = machine.owner and machine.name != name

    # --- what is promised

    def check(self) -> None:
        for machine in self.machines:
            entry = self.book.get(machine.ledger)
            if machine.name not in self.nodes and (entry is None or entry.name != machine.name):
                machine.forgotten = True
        live = [machine for machine in self.machines if machine.name in self.nodes and machine.ledger]
        live = [machine for machine in live if not machine.forgotten]
        owned = [machine.ledger for machine in live if machine.owner]
        assert len(owned) == len(set(owned))
        sure = [machine.ledger for machine in live if machine.running and machine.observer.holds(self.time)]
        assert len(sure) == len(set(sure))

    # --- what happens

    def pass_time(self, seconds: float, step: float = STEP) -> None:
        end = self.time + seconds
        while self.time < end:
            self.time += step
            self.reflect()
            for machine in self.machines:
                self.see(machine)
            for machine in self.machines:
                self.act(machine)

    def happen(self, what: str, machine: Machine) -> None:
        """Let one of the things happen that have a method of this name."""
        getattr(self, what.replace(" ", "_"))(machine)
        self.check()

    def moment(self, machine: Machine) -> None:
        self.pass_time(STEP)

    def some_time(self, machine: Machine) -> None:
        self.pass_time(FIRST_CLAIM_SECONDS + 1)

    def long_time(self, machine: Machine) -> None:
        self.pass_time(REST + GRACE + 20, 10.0)

    def stop(self, machine: Machine) -> None:
        machine.running = False

    def start(self, machine: Machine) -> None:
        machine.running = True
        machine.restart()

    def lose_ledger(self, machine: Machine) -> None:
        machine.ledger, machine.pods, machine.owner = 0, False, False
        machine.restart()

    def add_pods(self, machine: Machine) -> None:
        machine.pods = bool(machine.ledger)

    def end_pods(self, machine: Machine) -> None:
        machine.pods = False

    def cut_off(self, machine: Machine) -> None:
        machine.reachable = False

    def heal(self, machine: Machine) -> None:
        machine.reachable = True

    def reflect(self, machine: Machine | None = None) -> None:
        """Mirror Node objects, and annotate them."""
        for name in self.nodes:
            self.nodes[name] = annotation_for(name, self.nodes, self.book.values())
        self.mirror = dict(self.nodes)

    def save(self, machine: Machine) -> None:
        self.copy = dict(self.book), dict(self.mirror)

    def wipe(self, machine: Machine) -> None:
        self.reflect()
        self.book, self.mirror = {}, {}

    def put_back(self, machine: Machine) -> None:
        self.reflect()
        self.book, self.mirror = (dict(part) for part in self.copy)

    def delete_node(self, machine: Machine) -> None:
        self.nodes.pop(machine.name, None)

    def return_node(self, machine: Machine) -> None:
        self.nodes.setdefault(machine.name, 0)

    def recover(self) -> None:
        """All that was broken works again; pods of nodes whose ID is contested are drained."""
        for machine in self.machines:
            machine.reachable, machine.pods = True, False
            if not machine.running:
                self.happen("start", machine)
            self.nodes.setdefault(machine.name, 0)
        self.pass_time(REST + GRACE + 20, 10.0)
        self.pass_time(FIRST_CLAIM_SECONDS + STEP * (len(self.machines) + 4))

    def ids(self) -> list[int]:
        return [machine.ledger for machine in self.machines]
