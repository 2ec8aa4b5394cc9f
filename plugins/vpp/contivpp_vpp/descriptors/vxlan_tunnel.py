# SPDX-License-Identifier: Apache-2.0
"""VXLAN tunnels. VPP knows one by its end points, VNI, and the VRF of its outer packets; the tag says whose it is.

It cannot be tagged in the message that makes it, and its MAC address is VPP's own choice. So it is made with an
instance number (VPP calls it `vxlan_tunnel<instance>`) that is derived from the key, above those that VPP or people
give; where that number is in use, the next few are tried. One without a tag, but with such a number, was left half
made by an agent that died: it is deleted, and made again if somebody wants it. Any other without a tag is somebody
else's, and left alone.

VPP sets a tunnel up when it makes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.base import NO_INTERFACE, InterfaceDescriptor
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import VrfTable, VxlanTunnel, interface_key
from contivpp_vpp.messages import SwInterfaceTagAddDel, VxlanAddDelTunnelV3, VxlanTunnelV2Details, VxlanTunnelV2Dump
from contivpp_vpp.values import address_bytes, address_text, name_of_tag, tag_of

__all__ = ["VxlanTunnelDescriptor", "instances_of"]

UDP_PORT = 4789  # RFC 7348
_FIRST_INSTANCE = 1 << 30
_TRIES = 8
_EXISTS = -75  # TUNNEL_EXIST
_INSTANCE_IN_USE = -147
_ABSENT = (-3, -6)  # NO_SUCH_FIB, NO_SUCH_ENTRY


class VxlanTunnelDescriptor(InterfaceDescriptor[VxlanTunnel]):
    """`vxlan_add_del_tunnel_v3`, then the tag."""

    kind: ClassVar[str] = VxlanTunnel.kind
    item: ClassVar[type[Item]] = VxlanTunnel

    def dependencies(self, item: VxlanTunnel) -> Iterable[Dependency]:
        if item.encap_vrf:
            yield Dependency.on(f"{VrfTable.kind}/{item.encap_vrf}")

    def provides(self, item: VxlanTunnel) -> Iterable[str]:
        return (interface_key(item.name),)

    async def create(self, item: VxlanTunnel, handles: Mapping[str, Any]) -> int:
        try:
            index = await self._make(item)
        except VppError as error:
            if error.retval != _EXISTS:
                raise
            await self._clear(item)
            index = await self._make(item)
        try:
            await self.vpp.request(SwInterfaceTagAddDel(sw_if_index=index, tag=tag_of(item.name)))
        except VppError:
            await self.vpp.ensure(_deletion(item), *_ABSENT)
            raise
        return index

    async def _make(self, item: VxlanTunnel) -> int:
        instances = instances_of(item)
        for instance in instances:
            try:
                return (await self.vpp.request(_message(item, instance=instance))).sw_if_index
            except VppError as error:
                if error.retval != _INSTANCE_IN_USE or instance == instances[-1]:
                    raise
        raise AssertionError("there is a last instance")

    async def _clear(self, item: VxlanTunnel) -> None:
        """Remove what is in the way, if it is ours."""
        details = await self.details()
        for tunnel in await self.vpp.dump(VxlanTunnelV2Dump()):
            if _item(tunnel) != item or tunnel.src_port != UDP_PORT:
                continue
            tag = details[tunnel.sw_if_index].tag if tunnel.sw_if_index in details else ""
            if tag != tag_of(item.name) and (tag or tunnel.instance not in instances_of(item)):
                raise ForeignObject(
                    f"vxlan_tunnel{tunnel.instance} from {item.source} to {item.destination}, VNI {item.vni}, is in "
                    f"VPP already, with tag {tag!r}: delete it there"
                )
            await self.vpp.ensure(_deletion(item), *_ABSENT)

    async def delete(self, item: VxlanTunnel | None, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove a tunnel; for one that is no item, the handle is the message that does."""
        await self.vpp.ensure(handle if item is None else _deletion(item), *_ABSENT, *NO_INTERFACE)

    async def dump(self, known: Known) -> list[Found]:
        tunnels = await self.vpp.dump(VxlanTunnelV2Dump())
        if not tunnels:
            return []
        details = await self.details()
        tags = {index: each.tag for index, each in details.items()}
        return [found for each in tunnels if (found := _found(each, tags.get(each.sw_if_index, "")))]


def instances_of(item: VxlanTunnel) -> range:
    """Return the instance numbers that a tunnel of ours can have."""
    digest = hashlib.blake2s(item.key.encode(), digest_size=4).digest()
    first = _FIRST_INSTANCE + int.from_bytes(digest, "big") % _FIRST_INSTANCE
    return range(first, first + _TRIES)


def _message(item: VxlanTunnel, *, instance: int) -> VxlanAddDelTunnelV3:
    return VxlanAddDelTunnelV3(
        instance=instance,
        src_address=address_bytes(item.source),
        dst_address=address_bytes(item.destination),
        src_port=UDP_PORT,
        dst_port=UDP_PORT,
        encap_vrf_id=item.encap_vrf,
        vni=item.vni,
    )


def _deletion(item: VxlanTunnel, *, port: int = UDP_PORT) -> VxlanAddDelTunnelV3:
    return VxlanAddDelTunnelV3(
        is_add=False,
        src_address=address_bytes(item.source),
        dst_address=address_bytes(item.destination),
        src_port=port,
        encap_vrf_id=item.encap_vrf,
        vni=item.vni,
    )


def _item(tunnel: VxlanTunnelV2Details) -> VxlanTunnel | None:
    """Return a tunnel as an item; None for one over IPv6, or to a group."""
    source, destination = address_text(tunnel.src_address), address_text(tunnel.dst_address)
    try:
        return VxlanTunnel(source=source, destination=destination, vni=tunnel.vni, encap_vrf=tunnel.encap_vrf_id)
    except ValueError:
        return None


def _found(tunnel: VxlanTunnelV2Details, tag: str) -> Found | None:
    item = _item(tunnel)
    if item is None:
        return None
    if tag == tag_of(item.name):
        if (tunnel.src_port, tunnel.dst_port) == (UDP_PORT, UDP_PORT):
            return Found(item.key, item, tunnel.sw_if_index)
        return Found(f"{item.key}/{tunnel.src_port}", None, _deletion(item, port=tunnel.src_port))
    if tunnel.src_port != UDP_PORT:
        return None  # for VPP, it is another tunnel
    if not tag and tunnel.instance in instances_of(item):
        return Found(item.key, None, _deletion(item))
    return Found(item.key, item, tunnel.sw_if_index, ours=name_of_tag(tag) is not None)
