# SPDX-License-Identifier: Apache-2.0
"""TAP interfaces."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import Interface, TapConfig
from ..wire.codec import types
from .errors import UNIMPLEMENTED, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF


async def tap_create_v3(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Create a TAP; the kernel's part runs beside the event loop."""
    created = vpp.devices.create_tap(_config(request), request.tag.rstrip("\0"))
    interface: Interface = await created if inspect.isawaitable(created) else created
    return {"sw_if_index": interface.sw_if_index}


def _config(request: Any) -> TapConfig:
    if request.host_bridge_set or request.host_ip6_prefix_set or request.host_ip6_gw_set:
        raise Refusal(UNIMPLEMENTED, "host bridge and host IPv6 addresses are not supported")
    prefix = request.host_ip4_prefix
    return TapConfig(
        id=None if request.id == UNSET else request.id,
        mac=None if request.use_random_mac else request.mac_address,
        host_if_name=request.host_if_name if request.host_if_name_set else "",
        host_namespace=request.host_namespace if request.host_namespace_set else "",
        host_mac=request.host_mac_addr if request.host_mac_addr_set else bytes(6),
        host_mtu=request.host_mtu_size if request.host_mtu_set else 0,
        host_ip4=(int.from_bytes(prefix.address, "big"), prefix.len) if request.host_ip4_prefix_set else None,
        host_ip4_gateway=int.from_bytes(request.host_ip4_gw, "big") if request.host_ip4_gw_set else None,
        flags=request.tap_flags,
        rx_ring_size=request.rx_ring_sz or 256,
        tx_ring_size=request.tx_ring_sz or 256,
    )


def tap_delete_v2(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Remove a TAP with its Linux side."""
    vpp.devices.delete_tap(request.sw_if_index)


def sw_interface_tap_v2_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All TAPs, or one."""
    prefix = types()["ip4_prefix"]
    for interface in list(vpp.dataplane.interfaces):
        config = interface.details
        if not isinstance(config, TapConfig) or request.sw_if_index not in (UNSET, interface.sw_if_index):
            continue
        address, length = config.host_ip4 or (0, 0)
        yield {
            "sw_if_index": interface.sw_if_index, "id": config.id or 0, "tx_ring_sz": config.tx_ring_size,
            "rx_ring_sz": config.rx_ring_size, "host_mtu_size": config.host_mtu, "host_mac_addr": config.host_mac,
            "host_ip4_prefix": prefix(address.to_bytes(4, "big"), length), "tap_flags": config.flags,
            "dev_name": interface.name, "host_if_name": config.host_if_name,
            "host_namespace": config.host_namespace,
        }  # fmt: skip


HANDLERS = {found.__name__: found for found in (tap_create_v3, tap_delete_v2, sw_interface_tap_v2_dump)}
