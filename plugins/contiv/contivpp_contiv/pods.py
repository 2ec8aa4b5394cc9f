# SPDX-License-Identifier: Apache-2.0
"""What a pod wants of VPP and Linux: a pure function of its record.

Every pod's interface borrows the address of the node's gateway loopback (`contivpp_contiv.node`), so no pod needs one
of its own in VPP. A pod has a /32, a link route to the gateway and a default route; both sides know
each other's MAC by a static neighbour, so no ARP is needed. A pod's link goes up last: what it needs is there before
its first packet.

What others may change after the ADD (MTU, MAC, routes) is initial. VPP knows the pod by the MAC that its link has now.
"""

from __future__ import annotations

from collections.abc import Iterable

from contivpp_contiv import names
from contivpp_contiv.records import ALTERED_LINK, LOCAL_POD, POD_INTERFACE, AlteredLink, LocalPod, PodInterface
from contivpp_core.items import Item
from contivpp_core.namespaces import HOST, Namespace
from contivpp_core.records import Record
from contivpp_core.renderers import View
from contivpp_linux import items as linux
from contivpp_linux.marks import Mark
from contivpp_vpp import items as vpp

__all__ = ["PodRenderer", "pod_items"]


class PodRenderer:
    """LocalPod -> the items of one pod's interface."""

    name = "contiv-pod"
    table = LOCAL_POD.name
    reads = frozenset({ALTERED_LINK.name})
    produces = frozenset(
        {
            "vpp/tap",
            "vpp/afpacket",
            "vpp/interface-vrf",
            "vpp/mtu",
            "vpp/unnumbered",
            "vpp/neighbour",
            "vpp/route",
            "vpp/link-up",
            "linux/veth",
            "linux/link-up",
            "linux/offload",
            "linux/mtu",
            "linux/sysctl",
            "linux/address",
            "linux/route",
            "linux/neighbour",
            "linux/settled",
        }
    )
    derives = frozenset({POD_INTERFACE.name})

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return everything that the pod's interface consists of."""
        pod: LocalPod = view.get(self.table, key)
        yield PodInterface(
            interface=names.vpp_interface(pod.container_id, pod.interface),
            namespace=pod.namespace,
            pod=pod.name,
            address=pod.address,
            vrf=pod.vrf,
        )
        altered: AlteredLink | None = view.get(ALTERED_LINK.name, key)
        yield from pod_items(pod, altered.mac if altered is not None else "")


def pod_items(pod: LocalPod, mac: str = "") -> Iterable[Item]:
    """Return the items of a pod's interface, in VPP and in Linux; `mac` is the one that others gave the pod's end."""
    interface = names.vpp_interface(pod.container_id, pod.interface)
    mac = mac or pod.mac
    vpp_mac = names.vpp_mac(pod.container_id, pod.interface)
    if pod.wiring == "tap":
        yield vpp.Tap(
            name=interface,
            host_name=pod.interface,
            namespace=pod.netns,
            host_mac=mac,
            mac=vpp_mac,
            initial_mac=True,
        )
    else:
        yield from _veth_items(pod, interface=interface, vpp_mac=vpp_mac)
    yield from _vpp_items(pod, interface=interface, mac=mac)
    yield from _linux_items(pod.netns, pod, mac=mac, vpp_mac=vpp_mac)


def _veth(pod: LocalPod) -> linux.Veth:
    return linux.Veth(
        namespace=pod.netns,
        name=pod.interface,
        peer_namespace=HOST,
        peer_name=names.host_link(pod.container_id, pod.interface),
        mac=pod.mac,
        alias=names.vpp_interface(pod.container_id, pod.interface),
        initial_mac=True,
    )


def _veth_items(pod: LocalPod, *, interface: str, vpp_mac: str) -> Iterable[Item]:
    outer = names.host_link(pod.container_id, pod.interface)
    yield _veth(pod)
    yield linux.LinkUp(namespace=HOST, name=outer)
    # VPP reads whole frames from the veth: the kernel must fill in checksums, and must not leave segments to hardware.
    yield linux.Offload(namespace=pod.netns, link=pod.interface, features=(("tx-checksumming", False),))
    yield vpp.AfPacket(name=interface, host_name=outer, mac=vpp_mac)


def _vpp_items(pod: LocalPod, *, interface: str, mac: str) -> Iterable[Item]:
    if pod.vrf:
        yield vpp.InterfaceVrf(interface=interface, vrf=pod.vrf)
    needed: tuple[Item, ...] = (
        vpp.Mtu(interface=interface, mtu=pod.mtu),
        vpp.Unnumbered(interface=interface, donor=names.GATEWAY_INTERFACE, vrf=pod.vrf),
        vpp.Neighbour(interface=interface, address=pod.address, mac=mac),
        vpp.Route(
            vrf=pod.vrf, prefix=f"{pod.address}/32", paths=(vpp.Path(interface=interface, next_hop=pod.address),)
        ),
    )
    yield from needed
    yield vpp.LinkUp(interface=interface, requires=tuple(item.key for item in needed))


def _linux_items(netns: Namespace, pod: LocalPod, *, mac: str, vpp_mac: str) -> Iterable[Item]:
    link = pod.interface
    initial = tuple(_initial_items(netns, pod))
    yield from initial
    mark = Mark.of(_veth(pod), "a").alias if pod.wiring == "afpacket" else ""
    yield linux.Settled(namespace=netns, link=link, initial=initial, mark=mark)
    yield linux.LinkUp(namespace=netns, name="lo")
    yield linux.LinkUp(namespace=netns, name=link)
    yield linux.Address(namespace=netns, link=link, address=f"{pod.address}/32")
    yield linux.Neighbour(namespace=netns, link=link, address=pod.gateway, mac=vpp_mac, link_mac=mac)


def _initial_items(netns: Namespace, pod: LocalPod) -> Iterable[linux.Mtu | linux.Route | linux.Sysctl]:
    """Return what is set when the link is new, and left as others make it."""
    link = pod.interface
    for name, value in pod.sysctls:
        yield linux.Sysctl(namespace=netns, name=name, value=value, link=link, initial=True)
    yield linux.Mtu(namespace=netns, link=link, mtu=pod.mtu, initial=True)
    yield linux.Route(
        namespace=netns,
        destination=f"{pod.gateway}/32",
        link=link,
        scope="link",
        metric=pod.metric,
        initial=True,
    )
    for route in pod.all_routes:
        yield linux.Route(
            namespace=netns,
            destination=route.destination,
            link=link,
            gateway=route.gateway,
            metric=route.metric,
            initial=True,
        )
