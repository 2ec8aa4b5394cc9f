# SPDX-License-Identifier: Apache-2.0
"""What a pod asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv import names
from contivpp_contiv.altered import LostRenderer
from contivpp_contiv.pods import PodRenderer, pod_items
from contivpp_contiv.records import ALTERED_LINK, LOCAL_POD, POD_INTERFACE, AlteredLink, LocalPod
from contivpp_core.faults import FAULT
from contivpp_core.namespaces import HOST, Namespace
from contivpp_core.state import Delete, Put, Write
from contivpp_core.testing.laws import check_renderers
from contivpp_linux import items as linux
from contivpp_vpp import items as vpp

NETNS = Namespace("/proc/7/ns/net", 4, 4026532000)

pods = st.builds(
    LocalPod,
    container_id=st.sampled_from(("a", "b", "c")),
    interface=st.sampled_from(("eth0", "net1")),
    namespace=st.just("default"),
    name=st.sampled_from(("p", "q")),
    netns=st.just(NETNS),
    address=st.sampled_from(("10.1.1.2", "10.1.1.3")),
    gateway=st.just("10.1.1.1"),
    wiring=st.sampled_from(("tap", "afpacket")),
    mtu=st.just(1450),
    vrf=st.sampled_from((0, 1)),
)
altered = st.builds(
    AlteredLink,
    attachment=st.sampled_from(("a/eth0", "b/net1")),
    link=st.sampled_from((2, 3)),
    mac=st.sampled_from(("", "02:00:00:00:00:77")),
    lost=st.sampled_from(((), ("MTU 1400",))),
)
writes = st.one_of(
    altered.map(lambda each: Put(ALTERED_LINK.name, each)),
    altered.map(lambda each: Delete(ALTERED_LINK.name, each.attachment)),
    pods.map(lambda pod: Put(LOCAL_POD.name, pod)),
    pods.map(lambda pod: Delete(LOCAL_POD.name, pod.key)),
)
POD = LocalPod(
    container_id="0123456789abcdef0123456789abcdef",
    interface="eth0",
    namespace="default",
    name="web",
    netns=NETNS,
    address="10.1.1.2",
    gateway="10.1.1.1",
    wiring="tap",
    mtu=1450,
)


@given(st.lists(st.lists(writes, max_size=4), max_size=5))
def test_pods_keep_the_laws(batches: list[list[Write]]) -> None:
    tables = [LOCAL_POD, POD_INTERFACE, ALTERED_LINK, FAULT]
    check_renderers(tables, lambda: [PodRenderer(), LostRenderer()], batches)


def test_vpp_and_the_pod_follow_a_mac_that_others_gave_the_link() -> None:
    for wiring in ("tap", "afpacket"):
        pod = LocalPod(**{**_fields(POD), "wiring": wiring})
        own, followed = (list(pod_items(pod, mac)) for mac in ("", "02:00:00:00:00:77"))
        assert {item.key for item in own} == {item.key for item in followed}
        changed = {after for before, after in zip(own, followed, strict=True) if before != after}
        macs = {item.kind: getattr(item, "link_mac", "") or item.mac for item in changed if item.kind != "vpp/tap"}
        assert macs == dict.fromkeys(("vpp/neighbour", "linux/neighbour"), "02:00:00:00:00:77")
        assert {item.host_mac for item in changed if isinstance(item, vpp.Tap)} <= {"02:00:00:00:00:77"}


def test_the_mark_of_a_pods_link_waits_for_all_that_is_initial() -> None:
    for wiring in ("tap", "afpacket"):
        items = list(pod_items(LocalPod(**{**_fields(POD), "wiring": wiring})))
        (settled,) = (item for item in items if isinstance(item, linux.Settled))
        initial = tuple(item for item in items if getattr(item, "initial", None) is True)
        assert settled.initial == initial
        assert {item.kind for item in initial} == {"linux/mtu", "linux/route"}


def test_the_link_of_a_pod_goes_up_after_everything_else_in_vpp() -> None:
    items = {item.key: item for item in pod_items(POD)}
    (link,) = (item for item in items.values() if isinstance(item, vpp.LinkUp))
    assert set(link.requires) == {
        key for key, item in items.items() if isinstance(item, vpp.Mtu | vpp.Unnumbered | vpp.Neighbour | vpp.Route)
    }


def test_both_sides_know_each_others_mac() -> None:
    items = list(pod_items(POD))
    (tap,) = (item for item in items if isinstance(item, vpp.Tap))
    (in_vpp,) = (item for item in items if isinstance(item, vpp.Neighbour))
    (in_pod,) = (item for item in items if isinstance(item, linux.Neighbour))
    assert (in_vpp.mac, in_vpp.address) == (tap.host_mac, "10.1.1.2")
    assert (in_pod.mac, in_pod.address) == (tap.mac, "10.1.1.1")
    assert tap.host_mac == names.pod_mac(POD.container_id, "eth0")


def test_a_veth_pod_has_its_outer_end_on_the_host_and_no_checksum_offload() -> None:
    items = list(pod_items(LocalPod(**{**_fields(POD), "wiring": "afpacket"})))
    (veth,) = (item for item in items if isinstance(item, linux.Veth))
    (outer,) = (item for item in items if isinstance(item, vpp.AfPacket))
    assert (veth.namespace, veth.name, veth.peer_namespace, veth.peer_name) == (NETNS, "eth0", HOST, outer.host_name)
    assert any(isinstance(item, linux.Offload) and ("tx-checksumming", False) in item.features for item in items)
    assert not any(isinstance(item, vpp.Tap) for item in items)


def _fields(pod: LocalPod) -> dict[str, object]:
    return {name: getattr(pod, name) for name in pod.__struct_fields__}
