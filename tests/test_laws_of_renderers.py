# SPDX-License-Identifier: Apache-2.0
"""The laws of renderers, for all that the default plugins contribute, together as an agent has them.

CONTIVPP_LAWS multiplies the number of examples, CONTIVPP_LAWS_SEED is the seed.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from contivpp_contiv.plugin import ContivPlugin
from contivpp_contiv.records import (
    ALTERED_LINK,
    CONTAINER_RUNTIME,
    HOST_LINK,
    LOCAL_POD,
    REMEMBERED,
    AlteredLink,
    ContainerRuntime,
    HostLink,
    LocalPod,
    PodRoute,
    Stranger,
)
from contivpp_core.agent import Agent
from contivpp_core.kubernetes import NODE, NODE_SETTINGS, InterfaceSettings, Node, NodeAddress, NodeSettings
from contivpp_core.namespaces import Namespace
from contivpp_core.node import (
    CLUSTER_NODE,
    HOST_ADDRESS,
    HOST_ROUTE,
    NETWORK_INTERFACE,
    NODE_CLAIM,
    NODE_CONFIG,
    ClusterNode,
    HostAddress,
    HostRoute,
    NetworkInterface,
    NodeClaim,
    NodeConfig,
)
from contivpp_core.records import AnyTable
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_core.testing.laws import FIRST_SEED, Output, check_hash_seeds, check_renderers, examples
from contivpp_ipam.plugin import IpamPlugin
from contivpp_linux.plugin import LinuxPlugin
from contivpp_vpp.plugin import VppPlugin

OWN = "n1"
NAMES = (OWN, "n2", "n3")
NICS = ("GigabitEthernet0/8/0", "host-eth0", "host-eth1")
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "two VRFs": {"contiv": {"podVRFID": 7, "routeServiceCIDRToVPP": True}},
    "no overlay": {"contiv": {"nodeToNodeTransport": "nooverlay"}, "ipam": {"defaultGateway": "192.168.16.254"}},
    "DHCP": {"contiv": {"mainInterface": "host-eth0"}, "ipam": {"nodeInterconnectDHCP": True}},
}

addresses = st.sampled_from(("", "192.168.16.9/24", "10.9.9.1/24", "224.0.0.1/24"))
interfaces = st.builds(InterfaceSettings, st.sampled_from(("", *NICS)), addresses)
node_settings = st.builds(
    NodeSettings,
    name=st.just(OWN),
    main_interface=interfaces,
    other_interfaces=st.lists(interfaces, max_size=2).map(tuple),
    gateway=st.sampled_from(("", "192.168.16.254", "10.0.0.1")),
)
RECORDS: dict[str, tuple[AnyTable, st.SearchStrategy[Any]]] = {
    table.name: (table, records)
    for table, records in (
        (NODE_CONFIG, st.builds(NodeConfig, name=st.just(OWN), node_id=st.sampled_from((1, 2)))),
        (NODE_SETTINGS, node_settings),
        (REMEMBERED, node_settings),
        (
            NETWORK_INTERFACE,
            st.builds(
                NetworkInterface,
                name=st.sampled_from(NICS),
                kind=st.sampled_from(("dpdk", "af-packet")),
                index=st.sampled_from((1, 2)),
            ),
        ),
        (HOST_LINK, st.builds(HostLink, name=st.just(OWN), kind=st.sampled_from(("tap", "veth")))),
        (
            HOST_ADDRESS,
            st.builds(
                HostAddress,
                link=st.sampled_from(("eth0", "eth1")),
                address=st.sampled_from(("10.200.0.1/24", "192.168.16.1/24", "10.1.1.9/24", "fd00::1/64")),
            ),
        ),
        (
            HOST_ROUTE,
            st.builds(
                HostRoute,
                link=st.just("eth0"),
                destination=st.sampled_from(("0.0.0.0/0", "10.1.0.0/24", "172.30.0.0/16", "fd00::/64")),
            ),
        ),
        (
            NODE,
            st.builds(
                Node,
                name=st.sampled_from(NAMES),
                labels=st.just(()),
                addresses=st.lists(
                    st.builds(
                        NodeAddress,
                        st.sampled_from(("InternalIP", "Hostname")),
                        st.sampled_from(("10.200.0.1", "192.168.16.1", "nonsense")),
                    ),
                    max_size=2,
                ).map(tuple),
            ),
        ),
        (
            CLUSTER_NODE,
            st.builds(
                ClusterNode,
                name=st.sampled_from(NAMES),
                node_id=st.sampled_from((1, 2, 3, 900)),
                vpp_addresses=st.sampled_from((("192.168.16.2/24",), ("192.168.16.3/24",), ("10.9.9.9/24",), ())),
                management_addresses=st.sampled_from(((), ("10.200.0.2",), ("10.200.0.2", "10.1.1.1"))),
            ),
        ),
        (NODE_CLAIM, st.builds(NodeClaim, node_id=st.sampled_from((1, 2, 3)), name=st.sampled_from(NAMES))),
        (
            LOCAL_POD,
            st.builds(
                LocalPod,
                container_id=st.sampled_from(("a", "b")),
                interface=st.sampled_from(("eth0", "net1")),
                namespace=st.just("default"),
                name=st.sampled_from(("p", "q")),
                netns=st.just(Namespace("/proc/7/ns/net", 4, 4026532000)),
                address=st.sampled_from(("10.1.1.2", "10.1.1.3")),
                gateway=st.just("10.1.1.1"),
                wiring=st.sampled_from(("tap", "afpacket")),
                mtu=st.sampled_from((1450, 1400)),
                vrf=st.sampled_from((0, 7)),
                own_mac=st.sampled_from(("", "02:00:00:00:00:05")),
                metric=st.sampled_from((0, 10)),
                default_route=st.booleans(),
                routes=st.sampled_from(((), (PodRoute(destination="10.5.0.0/16", metric=5),))),
                sysctls=st.sampled_from(((), (("net.ipv4.conf.eth0.forwarding", "1"),))),
            ),
        ),
        (
            ALTERED_LINK,
            st.builds(
                AlteredLink,
                attachment=st.sampled_from(("a/eth0", "b/net1")),
                link=st.sampled_from((2, 3)),
                mac=st.sampled_from(("", "02:00:00:00:00:77")),
                lost=st.sampled_from(((), ("MTU 1400",))),
            ),
        ),
        (
            CONTAINER_RUNTIME,
            st.builds(
                ContainerRuntime,
                socket=st.sampled_from(("/run/a.sock", "/run/b.sock")),
                fault=st.sampled_from(("", "no answer")),
                strangers=st.lists(
                    st.builds(
                        Stranger,
                        id=st.sampled_from(("a", "b")),
                        pod=st.sampled_from(("default/p", "default/q")),
                        address=st.sampled_from(("10.1.1.2", "10.1.1.3")),
                    ),
                    max_size=3,
                ).map(tuple),
            ),
        ),
    )
}


def changes(table: AnyTable, records: st.SearchStrategy[Any]) -> st.SearchStrategy[Write]:
    """Return the writes to a table."""
    return st.one_of(
        records.map(lambda record: Put(table.name, record)),
        records.map(lambda record: Delete(table.name, table.key(record))),
        st.booleans().map(lambda ready: Ready(table.name, ready)),
    )


WRITES = st.one_of([changes(table, records) for table, records in RECORDS.values()])
BATCHES = st.lists(st.lists(WRITES, max_size=6), max_size=6)


def agent(configuration: dict[str, Any]) -> Agent:
    """Return an agent that is never started."""
    config = {"nodeName": OWN, "plugins": ["vpp", "linux", "ipam", "contiv"], **configuration}
    plugins = [VppPlugin(), LinuxPlugin(), IpamPlugin(), ContivPlugin(serve=False)]
    return Agent(config, plugins, ledger_path=None, serve=False)


def check(configuration: dict[str, Any], batches: list[list[Write]]) -> Output:
    """Check the laws of an agent's renderers."""
    made = agent(configuration)
    tables = [each.table for each in made.state.tables()]
    return check_renderers(tables, made.engine.renderers.values, batches)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@seed(int(os.environ.get(FIRST_SEED, "1")))
@settings(max_examples=examples(25), deadline=None, database=None)
@given(batches=BATCHES)
def test_renderers_keep_the_laws(name: str, batches: list[list[Write]]) -> None:
    check(CONFIGURATIONS[name], batches)


def much() -> Output:
    """Return what is rendered of many records, the same in every interpreter."""
    chance = random.Random(1)
    nodes = [ClusterNode(name=f"n{number}", node_id=number, vpp_addresses=(f"192.168.16.{number}/24",),
                         management_addresses=(f"10.200.0.{number}", f"10.201.0.{number}")) for number in range(2, 7)]
    addresses = tuple(NodeAddress("InternalIP", f"10.200.0.{number}") for number in range(1, 5))
    others = (InterfaceSettings(NICS[1], "10.9.9.1/24"), InterfaceSettings(NICS[2], ""))
    links = {"a/eth0": "tap", "b/net1": "afpacket"}
    rows: list[Write] = [
        Put(NODE_CONFIG.name, NodeConfig(name=OWN, node_id=1)),
        Put(NODE_SETTINGS.name, NodeSettings(name=OWN, other_interfaces=others, gateway="192.168.16.254")),
        Put(NODE.name, Node(name=OWN, labels=(), addresses=addresses)),
        Put(HOST_LINK.name, HostLink(name=OWN, kind="veth")),
        *(Put(CLUSTER_NODE.name, each) for each in nodes),
        *(Put(NETWORK_INTERFACE.name, NetworkInterface(name=name, kind="dpdk", index=1)) for name in NICS),
        *(Put(HOST_ADDRESS.name, HostAddress(link="eth0", address=f"10.200.0.{at}/24")) for at in range(3)),
        *(
            Put(
                LOCAL_POD.name,
                LocalPod(
                    container_id=key[0], interface=key[2:], namespace="d", name="p", netns=Namespace("/n", 4, 5),
                    address=f"10.1.1.{at}", gateway="10.1.1.1", wiring=wiring, mtu=1450,  # type: ignore[arg-type]
                    routes=(PodRoute(destination="10.5.0.0/16"), PodRoute(destination="10.6.0.0/16")),
                    sysctls=(("net.ipv4.ip_forward", "1"), ("net.ipv4.conf.eth0.forwarding", "1")),
                ),
            )
            for at, (key, wiring) in enumerate(links.items(), 2)
        ),
        *(Put(ALTERED_LINK.name, AlteredLink(attachment=key, link=2, lost=("MTU 1", "MAC 2"))) for key in links),
    ]  # fmt: skip
    chance.shuffle(rows)
    return check({}, [[Ready(table.name) for table, _ in RECORDS.values()], rows])


def test_the_order_of_sets_has_no_meaning() -> None:
    assert len(much()[0]) > 50
    check_hash_seeds(__file__, "much")


def test_every_record_that_a_renderer_reads_is_among_those_written() -> None:
    renderers = agent({}).engine.renderers.values()
    names = {each.name for each in renderers}
    assert {"ipam-subnets", "ipam-cluster-subnets", "contiv-pod", "contiv-peers"} <= names
    read = {table for each in renderers for table in (each.table, *each.reads)}
    derived = {table for each in renderers for table in each.derives}
    assert read - derived == set(RECORDS)
