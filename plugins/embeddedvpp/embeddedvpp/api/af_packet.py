# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET interfaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import DataplaneError
from .errors import INVALID_VALUE, UNIMPLEMENTED, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
MODE_ETHERNET, MODE_IP = 1, 2


def af_packet_create_v3(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """An interface on a Linux interface."""
    if request.mode not in (MODE_ETHERNET, MODE_IP):
        raise Refusal(INVALID_VALUE, f"there is no mode {request.mode}")
    if request.mode == MODE_IP:
        raise Refusal(UNIMPLEMENTED, "host interfaces without Ethernet are not supported")
    mac = None if request.use_random_hw_addr else request.hw_addr
    try:
        return {"sw_if_index": vpp.devices.create_af_packet(request.host_if_name, mac).sw_if_index}
    except DataplaneError as error:  # VPP's reply then has the interface that is there already, or 0
        there = vpp.dataplane.interfaces.by_name.get(f"host-{request.host_if_name}")
        return {"retval": int(error.retval), "sw_if_index": there.sw_if_index if there else 0}


def af_packet_delete(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Remove it; the Linux interface stays."""
    vpp.devices.delete_af_packet(request.host_if_name)


def af_packet_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """All of them."""
    found = [i for i in vpp.dataplane.interfaces if i.device_class == "af-packet" and i.sub is None]
    return ({"sw_if_index": i.sw_if_index, "host_if_name": i.host_if_name} for i in found)


HANDLERS = {found.__name__: found for found in (af_packet_create_v3, af_packet_delete, af_packet_dump)}
