# SPDX-License-Identifier: Apache-2.0
"""One embedded VPP as its API sees it: dataplane, message table, sessions, event subscriptions, trace.

Nothing here reads a clock or opens a file: time, process number and what creates kernel devices are given, so that
a test can run many of them in one process under a simulated clock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import time as wall_clock
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..dataplane import (
    Dataplane,
    Interface,
    InterfaceEvent,
    TapConfig,
    create_af_packet,
    create_tap,
    delete_af_packet,
    delete_tap,
)
from ..wire.codec import Codec, codecs
from ..wire.declarations import Module, Service, load

if TYPE_CHECKING:
    from .session import ApiSession

HANDLE_BIT = 0x80000000  # VPP marks handles of socket clients with it
FIRST_INDEX = 1  # 0 is the listening socket


class Devices(Protocol):
    """What makes interfaces out of kernel objects."""

    def create_tap(self, config: TapConfig, tag: str) -> Interface | Awaitable[Interface]:
        """A TAP."""

    def delete_tap(self, sw_if_index: int) -> None:
        """Remove a TAP."""

    def create_af_packet(self, host_if_name: str, mac: bytes | None) -> Interface:
        """An AF_PACKET interface."""

    def delete_af_packet(self, host_if_name: str) -> None:
        """Remove an AF_PACKET interface."""


class KernelDevices:
    """TAP and AF_PACKET of the machine; needs a running event loop."""

    def __init__(self, dataplane: Dataplane) -> None:
        self.dataplane = dataplane

    def create_tap(self, config: TapConfig, tag: str) -> Awaitable[Interface]:
        """A TAP in any network namespace."""
        return create_tap(self.dataplane, config, tag=tag)

    def delete_tap(self, sw_if_index: int) -> None:
        """Remove a TAP."""
        delete_tap(self.dataplane, sw_if_index)

    def create_af_packet(self, host_if_name: str, mac: bytes | None) -> Interface:
        """An interface on a Linux interface."""
        return create_af_packet(self.dataplane, host_if_name, mac=mac)

    def delete_af_packet(self, host_if_name: str) -> None:
        """Remove it."""
        delete_af_packet(self.dataplane, host_if_name)


class MessageTable:
    """Ids of the declared messages: those of ``memclnt`` are VPP's, the other modules follow one after the other."""

    FIXED: ClassVar[dict[str, int]] = {
        "get_first_msg_id": 10, "get_first_msg_id_reply": 11, "api_versions": 12, "api_versions_reply": 13,
        "sockclnt_create": 15, "sockclnt_create_reply": 16, "sockclnt_delete": 17, "sockclnt_delete_reply": 18,
        "memclnt_keepalive": 21, "memclnt_keepalive_reply": 22, "control_ping": 23, "control_ping_reply": 24,
        "get_api_json": 27, "get_api_json_reply": 28,
    }  # fmt: skip
    # For shared memory and VPP's own use, so nothing answers them; clients still look them up (vpp_papi's asyncio one).
    UNSERVED: ClassVar[dict[str, int]] = {
        "memclnt_create_9c5e1c2f": 1, "memclnt_create_reply_42ec4560": 2, "memclnt_delete_7e1c04e3": 3,
        "memclnt_delete_reply_3d3b6312": 4, "rx_thread_exit_c3a3a452": 5, "memclnt_rx_thread_suspend_c3a3a452": 6,
        "memclnt_read_timeout_c3a3a452": 7, "rpc_call_7e8a2c95": 8, "rpc_call_reply_e8d4e804": 9,
        "trace_plugin_msg_ids_f476d3ce": 14, "sock_init_shm_51646d92": 19, "sock_init_shm_reply_e8d4e804": 20,
        "memclnt_create_v2_c4bd4882": 25, "memclnt_create_v2_reply_42ec4560": 26,
    }  # fmt: skip

    def __init__(self) -> None:
        self.by_name = dict(self.FIXED)
        self.first: dict[str, int] = {}  # "module_crc" → first id, for get_first_msg_id
        self.modules: list[Module] = [module for module in load().values() if module.messages]
        number = 29
        for module in self.modules:
            if module.name == "memclnt":
                continue
            self.first[f"{module.name}_{module.crc}"] = number
            for message in module.messages:
                self.by_name[message.name] = number
                number += 1
        everything = codecs()
        self.by_id: dict[int, Codec] = {number: everything[name] for name, number in self.by_name.items()}
        self.ids = {codec.definition.name_crc: number for number, codec in self.by_id.items()} | self.UNSERVED
        self.services: dict[str, Service] = {
            service.request: service for module in self.modules for service in module.services
        }


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One request that arrived."""

    time: float
    client: str
    name: str


class Vpp:
    """Shared by all sessions, the CLI and the statistics segment."""

    version = "26.06-release"

    def __init__(
        self,
        dataplane: Dataplane | None = None,
        *,
        devices: Devices | None = None,
        time: Callable[[], float] | None = None,
        pid: int | None = None,
        on_trace: Callable[[TraceEntry], None] | None = None,
    ) -> None:
        self.dataplane = dataplane or Dataplane()
        self.devices: Devices = devices or KernelDevices(self.dataplane)
        self.time = time or wall_clock
        self.started = self.time()
        self.pid = os.getpid() if pid is None else pid
        self.messages = MessageTable()
        self.sessions: dict[int, ApiSession] = {}
        self.interface_subscribers: dict[int, int] = {}  # client index → pid, as the client gave it
        self.neighbor_config: dict[int, tuple[int, int, bool]] = {0: (50000, 0, False), 1: (50000, 0, False)}
        self.trace: deque[TraceEntry] | None = None
        self.on_trace = on_trace
        self._unsubscribe = self.dataplane.subscribe_interfaces(self._interface_event)

    def create_host_interfaces(self, names: Iterable[str]) -> None:
        """What VPP has by itself: ``create host-interface name NAME`` of its start-up configuration, in this order.

        They are down, have no tag and a random MAC address. Raises DataplaneError.
        """
        for name in names:
            self.devices.create_af_packet(name, None)

    def register(self, session: ApiSession) -> int:
        """A handle for a new client."""
        index = next(n for n in range(FIRST_INDEX, 1 << 20) if HANDLE_BIT | n not in self.sessions)
        self.sessions[HANDLE_BIT | index] = session
        return HANDLE_BIT | index

    def unregister(self, handle: int) -> None:
        """The client is gone, and its subscriptions with it."""
        self.sessions.pop(handle, None)
        self.interface_subscribers.pop(handle, None)

    def traced(self, client: str, name: str) -> None:
        """Note a request."""
        if self.trace is None and self.on_trace is None:
            return
        entry = TraceEntry(self.time(), client, name)
        if self.trace is not None:
            self.trace.append(entry)
        if self.on_trace is not None:
            self.on_trace(entry)

    def _interface_event(self, event: InterfaceEvent, interface: Interface) -> None:
        for handle, pid in list(self.interface_subscribers.items()):
            session = self.sessions.get(handle)
            if session is None:
                continue
            fields: dict[str, Any] = {
                "client_index": handle, "pid": pid, "sw_if_index": interface.sw_if_index,
                "flags": 0 if event is InterfaceEvent.DELETED else interface.flags,
                "deleted": event is InterfaceEvent.DELETED,
            }  # fmt: skip
            session.send_event("sw_interface_event", fields)
