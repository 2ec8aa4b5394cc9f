# SPDX-License-Identifier: Apache-2.0
"""A world for trials of VPP's descriptors: an embedded VPP that is reached by messages, and links of the host.

Faults strike between the messages of an operation (`contivpp_vpp.middle`), as well as between operations.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, ClassVar

import pytest

from contivpp_core.items import AnyDescriptor, Descriptor, Found, Item, Known
from contivpp_core.testing.faults import Fault, Faults
from contivpp_core.testing.worlds import World
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection, ConnectionSettings
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.middle import through
from contivpp_vpp.transports import Connect, in_memory, unix_socket

from .benches import EmbeddedPeer

WRITES = "^> (?!(sockclnt|memclnt|control_ping|show_version|cli_inband|want_|.*_dump$|.*_get$|nat44_show_running))"
RETVALS = (-4, -14)
"""Numbers that say nothing to any descriptor: not that what is deleted is gone, or that the machine cannot do it."""
NICS = ("eth0", "eth1")


class HostLink(Item, frozen=True, kw_only=True):
    """A link of the host, on which VPP may stand."""

    kind: ClassVar[str] = "linux/veth"
    name: str

    @property
    def key(self) -> str:
        return f"linux/veth/host/{self.name}"


class HostLinkDescriptor(Descriptor[HostLink]):
    """The Linux plugin's part, as far as VPP's items depend on it."""

    kind: ClassVar[str] = HostLink.kind
    item: ClassVar[type[Item]] = HostLink
    domain: ClassVar[str] = "linux"

    def __init__(self, links: set[str]) -> None:
        self._links = links

    def provides(self, item: HostLink) -> Iterable[str]:
        return (f"linux/link/host/{item.name}",)

    async def dump(self, known: Known) -> list[Found]:
        return [Found(f"linux/veth/host/{name}", HostLink(name=name)) for name in sorted(self._links)]

    async def create(self, item: HostLink, handles: Any) -> None:
        self._links.add(item.name)

    async def delete(self, item: HostLink, handle: Any, handles: Any) -> None:
        self._links.discard(item.name)


class VppWorld(World):
    """What is the same for every VPP: the connection."""

    messages = True
    all_found = True
    settings = ConnectionSettings()

    def __init__(self) -> None:
        self.links: set[str] = set()
        self._connection: Connection | None = None
        self._watch: asyncio.Task[None] | None = None

    def way(self) -> Connect:
        """Return how VPP is reached now."""
        raise NotImplementedError

    def descriptors(self) -> list[AnyDescriptor]:
        """Return the descriptors of an agent that begins."""
        self._access = VppAccess()
        return [HostLinkDescriptor(self.links), *all_descriptors(self._access)]

    async def connect(self, domain: str) -> None:
        if domain != "vpp":
            return
        self.disconnect(domain)
        connection = await Connection.open(through(self.faults, self.way()), name="trial", settings=self.settings)
        self._connection = self._access.client = connection
        self._watch = asyncio.get_running_loop().create_task(self._tell_loss(connection))

    async def _tell_loss(self, connection: Connection) -> None:
        await connection.lost()
        if connection is self._connection:
            self._connection = self._access.client = None
            self.lost("vpp")

    def disconnect(self, domain: str) -> None:
        if domain != "vpp" or self._connection is None:
            return
        connection, self._connection, self._access.client = self._connection, None, None
        connection.close()

    def plan(self, faults: Faults, chance: random.Random) -> None:
        nth = chance.randint(1, 40)
        match chance.choice(("refuse", "refuse", "cut", "cut", "reply", "slow", "vpp")):
            case "refuse":
                faults.plan(Fault.REFUSE, WRITES, nth=nth, times=chance.randint(1, 5), retval=chance.choice(RETVALS))
            case "cut":
                faults.plan(chance.choice((Fault.CUT, Fault.CUT_AFTER)), "^[<>] ", nth=nth)
            case "reply":
                faults.plan(chance.choice((Fault.TWICE, Fault.TRUNCATE)), "^< ", nth=nth)
            case "slow":
                faults.plan(Fault.SLOW, "^[<>] ", nth=nth, times=3, seconds=0.02)
            case "vpp":
                fault = chance.choice((Fault.CALL, Fault.CALL_AFTER))
                faults.plan(fault, "^> ", nth=nth, call=lambda: self.lost("vpp", new=True))


class RealWorld(VppWorld):
    """A real VPP, which is never restarted: an agent that takes it for a new one finds everything as it was."""

    settings = ConnectionSettings(timeout=1e9)  # time is not real

    def __init__(self, socket: str) -> None:
        super().__init__()
        self._socket = socket

    def way(self) -> Connect:
        return unix_socket(self._socket)


class EmbeddedWorld(VppWorld):
    """An embedded VPP with two NICs; its TAPs and AF_PACKET interfaces are ports in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.restart("vpp")

    def restart(self, domain: str) -> None:
        """A new process, or a new kernel, has nothing of the old one."""
        if domain != "vpp":
            self.links.clear()
            return
        api = pytest.importorskip("embeddedvpp.api")
        dataplane = pytest.importorskip("embeddedvpp.dataplane").Dataplane()
        self.vpp = api.Vpp(dataplane, devices=Devices(dataplane, self.links), time=lambda: 0.0, pid=1)
        self.vpp.create_host_interfaces(NICS)

    def way(self) -> Connect:
        session = pytest.importorskip("embeddedvpp.api").ApiSession
        vpp = self.vpp
        return in_memory(lambda: EmbeddedPeer(vpp, session))


class Devices:
    """Makes TAPs and AF_PACKET interfaces of nothing, and refuses as VPP does."""

    def __init__(self, dataplane: Any, links: set[str]) -> None:
        self._kit = pytest.importorskip("embeddedvpp.dataplane")
        self._dataplane = dataplane
        self._links = links

    def create_tap(self, config: Any, tag: str) -> Any:
        taps = self._of_class("tap")
        used = {each.instance for each in taps}
        number = next(n for n in range(len(used) + 1) if n not in used) if config.id is None else config.id
        if number in used:
            raise self._refusal("INVALID_INTERFACE")
        ends = {(each.details.host_namespace, each.details.host_if_name) for each in taps}
        if (config.host_namespace, config.host_if_name) in ends:
            raise self._refusal("SYSCALL_ERROR_3")
        made = self._add(f"tap{number}", "tap", number, config.mac)
        made.tag, made.host_if_name = tag, config.host_if_name
        host_mac = config.host_mac if any(config.host_mac) else bytes((2, 9, 0, 0, 0, number))
        made.details = self._kit.TapConfig(
            number, made.mac, config.host_if_name, config.host_namespace, host_mac, config.host_mtu, flags=config.flags
        )
        return made

    def delete_tap(self, sw_if_index: int) -> None:
        found = self._dataplane.interfaces.find(sw_if_index)
        if found is None or found.device_class != "tap":
            raise self._refusal("INVALID_SW_IF_INDEX")
        self._dataplane.delete_interface(sw_if_index)

    def create_af_packet(self, host_if_name: str, mac: bytes | None) -> Any:
        if f"host-{host_if_name}" in self._dataplane.interfaces.by_name:
            raise self._refusal("IF_ALREADY_EXISTS")
        if host_if_name not in (*self._links, *NICS):
            raise self._refusal("INVALID_INTERFACE")
        number = self._dataplane.interfaces.free_instance("af-packet")
        made = self._add(f"host-{host_if_name}", "af-packet", number, mac)
        made.host_if_name = host_if_name
        return made

    def delete_af_packet(self, host_if_name: str) -> None:
        found = self._dataplane.interfaces.by_name.get(f"host-{host_if_name}")
        if found is None:
            raise self._refusal("SYSCALL_ERROR_1")
        self._dataplane.delete_interface(found.sw_if_index)

    def _of_class(self, name: str) -> list[Any]:
        return [each for each in self._dataplane.interfaces if each.device_class == name]

    def _add(self, name: str, device_class: str, number: int, mac: bytes | None) -> Any:
        port = self._kit.add_memory_interface(
            self._dataplane, name, mac=mac, device_class=device_class, instance=number
        )
        return port.interface

    def _refusal(self, name: str) -> Exception:
        error: Exception = self._kit.DataplaneError(self._kit.Retval[name], "refused")
        return error
