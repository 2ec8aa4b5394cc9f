# SPDX-License-Identifier: Apache-2.0
"""TAP interfaces: created and tagged in one message, their other end inside a pod's network namespace.

VPP looks the namespace up by its path, in its own mount namespace. A dump gives back only the path; device and
inode are read from the file that is there now. Whether the Linux end still exists is for the Linux plugin's dump to
say.

With `persistent`, the kernel keeps the Linux end, its addresses and routes when VPP dies, and VPP attaches to it
again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from contivpp_core.items import Found, Item, Known
from contivpp_core.namespaces import Namespace
from contivpp_vpp.access import ForeignObject, Refused, VppAccess
from contivpp_vpp.descriptors.base import NO_INTERFACE, InterfaceDescriptor
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import Tap, interface_key
from contivpp_vpp.messages import (
    SwInterfaceDetails,
    SwInterfaceTapV2Details,
    SwInterfaceTapV2Dump,
    TapCreateV3,
    TapDeleteV2,
    TapFlags,
)
from contivpp_vpp.short_paths import ShortPaths
from contivpp_vpp.values import mac_bytes, mac_text, tag_of

__all__ = ["TapDescriptor", "explain_refusal", "tap_message"]

_PERSISTENT = TapFlags.PERSIST | TapFlags.ATTACH


class TapDescriptor(InterfaceDescriptor[Tap]):
    """`tap_create_v3` with namespace and tag."""

    kind: ClassVar[str] = Tap.kind
    item: ClassVar[type[Item]] = Tap

    def __init__(self, vpp: VppAccess, *, persistent: bool = False, paths: ShortPaths | None = None) -> None:
        super().__init__(vpp)
        self.persistent = persistent
        self._paths = paths or ShortPaths()

    def provides(self, item: Tap) -> Iterable[str]:
        return interface_key(item.name), f"linux/link/{item.namespace}/{item.host_name}"

    def equal(self, wanted: Tap, found: Tap) -> bool:
        return (
            (wanted.name, wanted.host_name, wanted.namespace) == (found.name, found.host_name, found.namespace)
            and wanted.mac in ("", found.mac)
            and (wanted.initial_mac or wanted.host_mac in ("", found.host_mac))
            and wanted.host_mtu in (0, found.host_mtu)
            and wanted.instance in (None, found.instance)
        )

    async def create(self, item: Tap, handles: Mapping[str, Any]) -> int:
        message = tap_message(item, persistent=self.persistent)
        message = msgspec.structs.replace(message, host_namespace=self._paths.shorten(item.namespace))
        try:
            return (await self.vpp.request(message)).sw_if_index
        except VppError as error:
            raise explain_refusal(item, error) from error

    async def delete(self, item: Tap, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(TapDeleteV2(sw_if_index=handle), *NO_INTERFACE)
        self._paths.forget(item.namespace)

    async def dump(self, known: Known) -> list[Found]:
        taps = {each.sw_if_index: each for each in await self.vpp.dump(SwInterfaceTapV2Dump())}
        if not taps:
            return []
        namespaces = {tap.namespace.path: tap.namespace for tap in known.items(Tap.kind)}
        found = []
        for index, (name, each) in (await self.ours()).items():
            if index in taps:
                tap = taps[index]
                where = _namespace(self._paths.expand(tap.host_namespace), namespaces)
                item = _found(name, tap, each, where)
                found.append(Found(item.key, item, index))
        return found


def tap_message(item: Tap, *, persistent: bool = False) -> TapCreateV3:
    """Return the message that creates a TAP."""
    return TapCreateV3(
        id=0xFFFFFFFF if item.instance is None else item.instance,
        use_random_mac=not item.mac,
        mac_address=mac_bytes(item.mac),
        host_mtu_set=item.host_mtu != 0,
        host_mtu_size=item.host_mtu,
        host_mac_addr_set=item.host_mac != "",
        host_mac_addr=mac_bytes(item.host_mac),
        tap_flags=_PERSISTENT if persistent else TapFlags(0),
        host_namespace_set=item.namespace.path != "",
        host_namespace=item.namespace.path,
        host_if_name_set=True,
        host_if_name=item.host_name,
        tag=tag_of(item.name),
    )


def explain_refusal(item: Tap, error: VppError) -> Exception:
    """Say what a refused TAP means, where VPP's number alone does not; errors that may pass by stay as they are."""
    where = f"TAP {item.host_name} in {item.namespace.path or 'the host namespace'}"
    match error.retval:
        case -11:  # SYSCALL_ERROR_1: opening /dev/vhost-net
            return Refused(
                f"{where}: VPP cannot open /dev/vhost-net ({error.retval}): load the kernel module vhost_net and "
                "let VPP have the device, or use AF_PACKET for pods"
            )
        case -12:  # SYSCALL_ERROR_2: the namespace, /dev/net/tun, or a feature of it
            return Refused(
                f"{where}: VPP cannot open the namespace or /dev/net/tun ({error.retval}): the namespace may be gone; "
                "otherwise let VPP see it and the device, or use AF_PACKET for pods"
            )
        case -13:  # SYSCALL_ERROR_3: entering the namespace, or one of the ioctls
            return Refused(
                f"{where}: the kernel refuses VPP to set it up ({error.retval}): the name may be taken there, or VPP "
                "lacks privileges or vhost-net; where the host cannot do it, use AF_PACKET for pods"
            )
        case -71 if item.instance is not None:  # INVALID_INTERFACE
            return ForeignObject(f"{where}: VPP has another TAP with instance {item.instance}: delete it there")
    return error


def _found(name: str, tap: SwInterfaceTapV2Details, interface: SwInterfaceDetails, namespace: Namespace) -> Tap:
    return Tap(
        name=name,
        host_name=tap.host_if_name,
        namespace=namespace,
        host_mac=mac_text(tap.host_mac_addr),
        mac=mac_text(interface.l2_address),
        host_mtu=tap.host_mtu_size,
        instance=tap.id,
    )


def _namespace(path: str, known: Mapping[str, Namespace]) -> Namespace:
    """Return the namespace at a path; where none can be seen, what was last known of it stands."""
    if not path:
        return Namespace()
    try:
        status = os.stat(path)
    except OSError:
        return known.get(path, Namespace(path))
    return Namespace(path, status.st_dev, status.st_ino)
