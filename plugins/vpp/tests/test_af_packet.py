# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET interfaces that an agent left half made: created, and killed before the tag."""

from __future__ import annotations

from typing import Any

import pytest

from contivpp_core.items import Known
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors.af_packet import AfPacketDescriptor
from contivpp_vpp.descriptors.interfaces import mac_of
from contivpp_vpp.items import AfPacket
from contivpp_vpp.values import mac_bytes, tag_of

POD = AfPacket(name="pod", host_name="veth1", mac="02:fe:00:00:00:01")


class Dumps:
    """A VPP with one AF_PACKET interface, which answers dumps only."""

    def __init__(self, *, tag: str, mac: str) -> None:
        self.interface = m.SwInterfaceDetails(sw_if_index=3, tag=tag, l2_address=mac_bytes(mac))

    async def request(self, message: Any) -> Any:
        raise AssertionError(f"{message} in a dump")

    async def dump(self, message: Any) -> Any:
        if isinstance(message, m.AfPacketDump):
            return [m.AfPacketDetails(sw_if_index=3, host_if_name="veth1")]
        return [self.interface]


@pytest.mark.parametrize(
    ("tag", "mac", "found"),
    [
        pytest.param(tag_of("pod"), POD.mac, POD, id="complete"),
        pytest.param("", POD.mac, AfPacket(name="pod", host_name="veth1", mac="00:00:00:00:00:00"), id="half made"),
        pytest.param("", "02:00:00:00:00:09", None, id="somebody else's, without a tag"),
        pytest.param("theirs", POD.mac, None, id="somebody else's, with a tag"),
    ],
)
async def test_what_is_half_made_is_found_but_not_as_it_is_wanted(tag: str, mac: str, found: AfPacket | None) -> None:
    access = VppAccess()
    access.client = Dumps(tag=tag, mac=mac)
    descriptor = AfPacketDescriptor(access)
    dump = await descriptor.dump(Known({AfPacket.kind: [POD]}))
    assert [(each.item, each.handle) for each in dump] == ([(found, 3)] if found else [])
    assert descriptor.equal(POD, POD)
    if found is not None:
        assert descriptor.equal(POD, found) == (found == POD)
        assert descriptor.recreates(found, POD)


async def test_without_anybody_who_knows_it_nothing_without_a_tag_is_ours() -> None:
    access = VppAccess()
    access.client = Dumps(tag="", mac=POD.mac)
    assert await AfPacketDescriptor(access).dump(Known()) == []


async def test_what_is_half_made_is_not_as_it_is_wanted_where_no_mac_is_wanted_either() -> None:
    wanted = AfPacket(name="pod", host_name="veth1")
    access = VppAccess()
    access.client = Dumps(tag="", mac=mac_of("pod", "").hex(":"))
    descriptor = AfPacketDescriptor(access)
    (found,) = await descriptor.dump(Known({AfPacket.kind: [wanted]}))
    assert not descriptor.equal(wanted, found.item)
