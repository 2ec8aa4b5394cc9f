# SPDX-License-Identifier: Apache-2.0
"""When a node publishes itself. What happens in a cluster is in the tests of the memory rig."""

from __future__ import annotations

from collections.abc import Iterable

from contivpp_contiv.publication import Publication
from contivpp_contiv.records import HOST_LINK, OWN_NODE, TABLES, HostLink
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.kvstore import KVStoreError
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, ClusterNode, NodeConfig
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable, Record
from contivpp_core.renderers import Renderer, View
from contivpp_core.state import Delete, Put, Ready


class OwnNode:
    """Stands for the renderer that finds the node's address: the link's kind is a part of it here."""

    name = "own-node"
    table = HOST_LINK.name
    reads: frozenset[str] = frozenset()
    produces: frozenset[str] = frozenset()
    derives = frozenset({OWN_NODE.name})

    def render(self, view: View, key: str) -> Iterable[Record]:
        yield ClusterNode(name=key, node_id=1, vpp_addresses=(view.get(self.table, key).kind,))


class BoardPlugin(Plugin):
    """A plugin by which nodes tell of themselves; `mirrors` says whether the table tells so afterwards."""

    name = "board"
    sources = (CLUSTER_NODE.name, NODE_CLAIM.name)
    mirrors, refuses, allowed = True, False, True

    def __init__(self) -> None:
        self.published: list[str] = []
        self.agent: Agent

    @property
    def id_book(self) -> object:
        return self

    @property
    def publisher(self) -> BoardPlugin:
        return self

    @hookimpl
    def tables(self) -> list[AnyTable]:
        return list(TABLES)

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        return [OwnNode()]

    async def start(self, agent: Agent) -> None:
        self.agent = agent
        self.publication = Publication(agent, allowed=lambda: self.allowed)
        await self.publication.start()

    async def stop(self) -> None:
        await self.publication.stop()

    async def publish(self, node: ClusterNode) -> None:
        self.published.append(node.vpp_addresses[0])
        if self.refuses:
            raise KVStoreError("not now")
        if self.mirrors:
            await self.agent.controller.write("mirror", [Put(CLUSTER_NODE.name, node)])

    async def link(self, kind: str) -> None:
        link = HostLink(name="n1", kind=kind)
        await self.agent.controller.write("link", [Put(HOST_LINK.name, link), Ready(HOST_LINK.name)])


def published(test) -> None:
    async def main() -> None:
        board = BoardPlugin()
        agent = Agent({"nodeName": "n1", "plugins": ["board"]}, [board], ledger_path=None, serve=False)
        await agent.start()
        own = [Put(NODE_CONFIG.name, NodeConfig(name="n1", node_id=1)), Ready(NODE_CONFIG.name)]
        await agent.controller.write("ID", own)
        await board.link("tap")
        await test(board, agent)
        await agent.stop()

    run_simulated(main())


def test_what_is_published_is_not_published_again_until_it_changes_or_is_lost():
    async def test(board: BoardPlugin, agent: Agent) -> None:
        await agent.clock.sleep(100)
        assert board.published == ["tap"]
        await board.link("veth")
        await agent.clock.sleep(0.1)
        assert board.published == ["tap", "veth"]
        await agent.controller.write("lost", [Delete(CLUSTER_NODE.name, "n1")])
        await agent.clock.sleep(0.1)
        assert board.published == ["tap", "veth", "veth"]

    published(test)


def test_what_does_not_arrive_is_published_again():
    async def test(board: BoardPlugin, agent: Agent) -> None:
        board.mirrors = False
        await board.link("veth")
        await agent.clock.sleep(11)
        assert board.published == ["tap", "veth", "veth", "veth"]

    published(test)


def test_what_is_refused_is_tried_again():
    async def test(board: BoardPlugin, agent: Agent) -> None:
        board.refuses = True
        await board.link("veth")
        await agent.clock.sleep(5)
        tries = len(board.published)
        assert 3 < tries < 10
        board.refuses = False
        await agent.clock.sleep(10)
        assert len(board.published) == tries + 1

    published(test)


def test_a_node_that_does_not_hold_its_id_publishes_nothing():
    async def test(board: BoardPlugin, agent: Agent) -> None:
        board.allowed = False
        await board.link("veth")
        await agent.clock.sleep(100)
        assert board.published == ["tap"]
        board.allowed = True
        board.publication.look()
        await agent.clock.sleep(0.1)
        assert board.published == ["tap", "veth"]

    published(test)
