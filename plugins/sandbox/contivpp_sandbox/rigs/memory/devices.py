# SPDX-License-Identifier: Apache-2.0
"""What the embedded VPP makes interfaces of in this rig: links of the kernel in memory.

A TAP is a link that VPP plugs into a namespace, an AF_PACKET port listens at a link of the host. Refusals carry the
numbers that VPP has for them. When VPP ends, its TAPs vanish from their namespaces, except persistent ones, which
wait there for a VPP that attaches to them.
"""

from __future__ import annotations

from collections.abc import Callable

from contivpp_linux.kernel.errors import KernelError, NamespaceError
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.memory_links import MemoryLink
from contivpp_linux.kernel.operations import SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_sandbox.rigs.memory.notes import Notes
from contivpp_sandbox.rigs.memory.packets import frame_ends, packet_ends
from embeddedvpp.dataplane import (
    Dataplane,
    DataplaneError,
    Interface,
    MemoryPort,
    Retval,
    TapConfig,
    TapFlag,
    add_memory_interface,
    format_mac,
    random_mac,
)
from embeddedvpp.dataplane.reasons import Reason

__all__ = ["MemoryDevices"]

TAP, AF_PACKET = "tap", "af-packet"
_DEFAULT_MTU = 1500
_EXPLAINED = {
    "ip4-glean": "no neighbour and no route but the subnet's own: nobody may have this address; VPP asks by ARP"
}
"""What a node's counter alone does not tell."""
_ASKING = ("ip4-glean", "ip4-arp")
"""Nodes that send a question by ARP in place of the packet."""


class _LinkPort(MemoryPort):
    """A port on a link; `release` gives the link back."""

    release: Callable[[], None] = staticmethod(lambda: None)

    def close(self, *, keep: bool = False) -> None:
        super().close(keep=keep)
        self.release()


class MemoryDevices:
    """TAPs and AF_PACKET ports of one VPP.

    `plugged` is called with the path of a namespace in which a link appeared; `owner` tells whose a namespace is.
    """

    def __init__(
        self,
        kernel: MemoryKernel,
        dataplane: Dataplane,
        *,
        notes: Notes,
        node: str,
        plugged: Callable[[str], None],
        owner: Callable[[str], str],
    ) -> None:
        self._kernel = kernel
        self._dataplane = dataplane
        self._notes = notes
        self._node = node
        self._plugged = plugged
        self._owner = owner
        self._taps: dict[Interface, MemoryLink] = {}
        self._listening: dict[Interface, MemoryLink] = {}
        dataplane.graph.tracer = self._dropped

    # --- what VPP's API asks for

    async def create_tap(self, config: TapConfig, tag: str) -> Interface:
        """Make a TAP, and its Linux end up."""
        if config.flags & TapFlag.TUN or config.host_ip4 is not None or config.host_ip4_gateway is not None:
            raise DataplaneError(Retval.UNSPECIFIED, "TUN devices and host addresses are not made in memory")
        number = self._number(config)
        name = config.host_if_name or f"tap{number}"
        host_mac = config.host_mac if any(config.host_mac) else random_mac()
        port = self._add(f"tap{number}", TAP, number, config.mac)
        try:
            link = await self._link(config, name, host_mac)
        except DataplaneError:
            self._dataplane.delete_interface(port.interface.sw_if_index)
            raise
        link.outside = port.inject
        port.on_transmit = self._sender(link)
        port.release = lambda: self._unplug(port.interface)
        interface = port.interface
        self._taps[interface] = link
        interface.host_if_name, interface.tag = name, tag
        interface.details = TapConfig(
            number,
            interface.mac,
            name,
            config.host_namespace,
            host_mac,
            config.host_mtu,
            flags=config.flags,
            rx_ring_size=config.rx_ring_size,
            tx_ring_size=config.tx_ring_size,
        )
        self._plugged(config.host_namespace)
        return interface

    def delete_tap(self, sw_if_index: int) -> None:
        """Remove a TAP and its Linux end."""
        interface = self._dataplane.interfaces.find(sw_if_index)
        if interface is None or interface.device_class != TAP:
            raise DataplaneError(Retval.INVALID_SW_IF_INDEX, f"sw_if_index {sw_if_index} is not a TAP")
        self._dataplane.delete_interface(sw_if_index)

    def create_af_packet(self, host_if_name: str, mac: bytes | None) -> Interface:
        """Listen at a link of the host."""
        if f"host-{host_if_name}" in self._dataplane.interfaces.by_name:
            raise DataplaneError(Retval.IF_ALREADY_EXISTS, f"host-{host_if_name} exists already")
        try:
            link = self._kernel.link("", host_if_name)
        except KernelError as error:
            raise DataplaneError(Retval.INVALID_INTERFACE, f"no Linux interface {host_if_name!r}") from error
        link.namespace.set_up(link, up=True)  # as VPP does
        instance = self._dataplane.interfaces.free_instance(AF_PACKET)
        port = self._add(f"host-{host_if_name}", AF_PACKET, instance, mac)
        port.on_transmit = link.transmit
        link.listener = port.inject
        port.release = lambda: self._unlisten(port.interface)
        port.interface.host_if_name = host_if_name
        self._listening[port.interface] = link
        return port.interface

    def delete_af_packet(self, host_if_name: str) -> None:
        """Stop listening; the link stays."""
        interface = self._dataplane.interfaces.by_name.get(f"host-{host_if_name}")
        if interface is None or interface.device_class != AF_PACKET:
            raise DataplaneError(Retval.SYSCALL_ERROR_1, f"there is no host interface on {host_if_name!r}")
        self._dataplane.delete_interface(interface.sw_if_index)

    # --- what the rig does

    def vpp_ended(self) -> None:
        """VPP's process is gone: so are its TAPs, but not the persistent ones."""
        self._dataplane.graph.tracer = None
        for interface, link in list(self._taps.items()):
            details = interface.details
            if isinstance(details, TapConfig) and details.flags & TapFlag.PERSIST:
                link.outside = None
            else:
                self._kernel.unplug(link)
        for link in self._listening.values():
            link.listener = None
        self._taps.clear()
        self._listening.clear()

    # --- inside

    def _number(self, config: TapConfig) -> int:
        used = {interface.instance for interface in self._dataplane.interfaces if interface.device_class == TAP}
        if config.id is None:
            return next(number for number in range(len(used) + 1) if number not in used)
        if config.id in used:
            raise DataplaneError(Retval.INVALID_INTERFACE, f"tap{config.id} exists already")
        return config.id

    def _add(self, name: str, device_class: str, instance: int, mac: bytes | None) -> _LinkPort:
        made = add_memory_interface(
            self._dataplane, name, mac=mac, device_class=device_class, instance=instance
        )
        port = _LinkPort(self._dataplane, made.interface)
        port.input_node = "virtio-input" if device_class == TAP else "af-packet-input"
        made.interface.port = port
        return port

    async def _link(self, config: TapConfig, name: str, mac: bytes) -> MemoryLink:
        """Return the Linux end: a new link, or one that waits."""
        where = config.host_namespace
        try:
            await self._kernel.identify(where)
        except NamespaceError as error:
            raise DataplaneError(Retval.SYSCALL_ERROR_2, f"network namespace {where}: {error}") from error
        try:
            link = self._kernel.link(where, name)
            if not config.flags & TapFlag.ATTACH or link.kind != "tun" or link.outside is not None:
                raise DataplaneError(Retval.SYSCALL_ERROR_1, f"{where}: link {name} exists already")
        except KernelError:
            mtu = config.host_mtu or _DEFAULT_MTU
            try:
                link = self._kernel.plug(where, name, format_mac(mac), mtu, _nowhere)
            except OSError as error:
                raise DataplaneError(Retval.SYSCALL_ERROR_1, f"{where}: TAP {name}: {error}") from error
        up = SetLink(link=name, up=True, mac=format_mac(mac), mtu=config.host_mtu or None)
        raise_errors(await self._kernel.apply(where, [up]))
        return link

    def _sender(self, link: MemoryLink) -> Callable[[bytes], None]:
        def send(frame: bytes) -> None:
            if not link.up:
                self._notes.lost(f"node {self._node}", f"{link.name} of the pod is down", *frame_ends(frame))
            link.receive(frame)

        return send

    def _unplug(self, interface: Interface) -> None:
        link = self._taps.pop(interface, None)
        if link is not None:
            self._kernel.unplug(link)

    def _unlisten(self, interface: Interface) -> None:
        link = self._listening.pop(interface, None)
        if link is not None:
            link.listener = None

    def _dropped(self, node: str, interface: Interface, reason: Reason, data: bytes) -> None:
        ends = packet_ends(data)  # VPP drops some packets with their Ethernet header, some without
        if ends == (0, 0):
            ends = frame_ends(data)
        where = f"node {self._node}: VPP interface {self._label(interface)}: {node}"
        self._notes.lost(where, _EXPLAINED.get(node, reason.description), *ends, asking=node in _ASKING)

    def _label(self, interface: Interface) -> str:
        """Return an interface's name in VPP, and whose it is."""
        tap, listening = self._taps.get(interface), self._listening.get(interface)
        end = tap if listening is None else listening.peer  # what is behind a NIC is nobody's on this node
        owner = self._owner(end.namespace.identity.path) if end is not None else ""
        return f"{interface.name} ({owner})" if owner else interface.name


def _nowhere(frame: bytes) -> None:
    """A TAP that no program has open."""
