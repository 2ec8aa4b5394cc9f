# SPDX-License-Identifier: Apache-2.0
"""TAP ports: an interface ``tapN`` here and a Linux interface in any network namespace.

The device is made and its Linux side set up (MAC, address, link, gateway, MTU: VPP's order) by a thread
that enters the namespace; its descriptor then works from ours. With the flag PERSIST the Linux side
outlives this process, so that a pod keeps eth0 while VPP restarts, and ATTACH takes such a device over
again; deleting the interface deletes both.

The kernel makes a device where its descriptor was opened, and an open one keeps that namespace alive: a pod's
namespace is gone for good only when its TAP is deleted here (with VPP it is the same).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

from .addresses import MASKS, random_mac
from .devices import DevicePort, in_thread
from .errors import DataplaneError, Retval
from .netns import enter_namespace

if TYPE_CHECKING:
    from .interfaces import Interface
    from .model import Dataplane

DEVICE_CLASS = "tap"
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x0100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_SIOCSIFMTU, _SIOCSIFHWADDR, _SIOCADDRT = 0x8922, 0x8924, 0x890B
_IFF_UP, _RTF_UP, _RTF_GATEWAY, _ARPHRD_ETHER = 1, 1, 2, 1


class TapFlag(IntFlag):
    """The flags of VPP's TAP messages that mean something here; offloads change nothing that is seen."""

    GSO = 1
    CSUM_OFFLOAD = 2
    PERSIST = 4
    ATTACH = 8
    TUN = 16


@dataclass(frozen=True, slots=True)
class TapConfig:
    """What a TAP is made of; ``Interface.details`` of a TAP holds it with the values that were chosen."""

    id: int | None = None
    mac: bytes | None = None
    host_if_name: str = ""
    host_namespace: str = ""
    host_mac: bytes = bytes(6)
    host_mtu: int = 0
    host_ip4: tuple[int, int] | None = None  # address, prefix length
    host_ip4_gateway: int | None = None
    flags: int = 0  # TapFlag
    rx_ring_size: int = 256
    tx_ring_size: int = 256


class TapPort(DevicePort):
    """The descriptor of a TAP device."""

    input_node = "tap-input"

    def read(self) -> int:
        """Read one frame."""
        return os.readv(self.descriptor, (self._buffer,))

    def write(self, frame: bytes) -> object:
        """Write one frame."""
        return os.write(self.descriptor, frame)

    def release(self, *, keep: bool) -> None:
        """Close the device, which the kernel then removes unless it is to persist."""
        try:
            if not keep:
                fcntl.ioctl(self.descriptor, _TUNSETPERSIST, 0)
        except OSError:
            pass  # the device went with its namespace
        finally:
            os.close(self.descriptor)


async def create_tap(dataplane: Dataplane, config: TapConfig, *, tag: str = "") -> Interface:
    """``tapN`` with its Linux side; refusals carry VPP's numbers.

    Once begun it goes to its end, also when the client that asked is gone: VPP does what it was told.
    """
    making = asyncio.ensure_future(_create(dataplane, config, tag))
    making.add_done_callback(lambda task: task.cancelled() or task.exception())  # maybe nobody waits any more
    return await asyncio.shield(making)


async def _create(dataplane: Dataplane, config: TapConfig, tag: str) -> Interface:
    number = _reserve(dataplane, config)
    try:
        descriptor, name, host_mac = await in_thread(lambda: _make(config, dataplane))
    finally:
        dataplane.reserved_taps.discard(number)
    interface = dataplane.add_interface(
        f"tap{number}", device_class=DEVICE_CLASS, instance=number, mac=config.mac
    )
    interface.host_if_name = name
    interface.tag = tag
    interface.details = TapConfig(
        number,
        interface.mac,
        name,
        config.host_namespace,
        host_mac,
        config.host_mtu,
        config.host_ip4,
        config.host_ip4_gateway,
        config.flags,
        config.rx_ring_size,
        config.tx_ring_size,
    )
    TapPort(dataplane, descriptor).start(interface)
    return interface


def delete_tap(dataplane: Dataplane, sw_if_index: int) -> None:
    """Remove a TAP with its Linux side, also a persistent one."""
    interface = dataplane.interfaces.find(sw_if_index)
    if interface is None or interface.device_class != DEVICE_CLASS:
        raise DataplaneError(Retval.INVALID_SW_IF_INDEX, f"sw_if_index {sw_if_index} is not a TAP")
    dataplane.delete_interface(sw_if_index)


def _reserve(dataplane: Dataplane, config: TapConfig) -> int:
    """The number of the new TAP; no other creation gets it meanwhile."""
    if config.flags & TapFlag.TUN:
        raise DataplaneError(Retval.UNSPECIFIED, "TUN devices are not made by this dataplane")
    if config.flags & TapFlag.ATTACH and not config.host_if_name:
        raise DataplaneError(Retval.NO_MATCHING_INTERFACE, "to attach, host_if_name must be given")
    used = {found.instance for found in dataplane.interfaces if found.device_class == DEVICE_CLASS}
    used |= dataplane.reserved_taps
    number = config.id
    if number is None:
        number = next(candidate for candidate in range(len(used) + 1) if candidate not in used)
    elif number in used:
        raise DataplaneError(Retval.INVALID_INTERFACE, f"tap{number} exists already")
    dataplane.reserved_taps.add(number)
    return number


def _make(config: TapConfig, dataplane: Dataplane) -> tuple[int, str, bytes]:
    """In a thread: the device's descriptor, Linux name and MAC address."""
    for closing in list(dataplane.closing):
        closing.join()
    if config.host_namespace:
        enter_namespace(config.host_namespace)
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataplaneError(Retval.SYSCALL_ERROR_2, f"/dev/net/tun: {error}") from error
    try:
        try:
            name = _open(descriptor, config)
        except OSError as error:
            raise DataplaneError(
                Retval.SYSCALL_ERROR_3, f"TAP {config.host_if_name!r} in {config.host_namespace!r}: {error}"
            ) from error
        host_mac = config.host_mac if any(config.host_mac) else random_mac()
        try:
            _set_up(name, host_mac, config)
        except OSError as error:
            raise DataplaneError(Retval.NETLINK_ERROR, f"setting {name} up: {error}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, name, host_mac


def _open(descriptor: int, config: TapConfig) -> str:
    flags = _IFF_TAP | _IFF_NO_PI
    encoded = config.host_if_name.encode()[:15]
    try:
        answer = fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", encoded, flags))
    except OSError as error:
        if error.errno != errno.EINVAL or not config.flags & TapFlag.ATTACH:
            raise
        # A device that another VPP left has several queues, and is opened only by who says the same.
        request = struct.pack("16sH22x", encoded, flags | _IFF_MULTI_QUEUE)
        answer = fcntl.ioctl(descriptor, _TUNSETIFF, request)
    if config.flags & (TapFlag.ATTACH | TapFlag.PERSIST):
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1 if config.flags & TapFlag.PERSIST else 0)
    return answer[:16].rstrip(b"\0").decode()


def _set_up(name: str, mac: bytes, config: TapConfig) -> None:
    """The Linux side, from within its namespace, in the order in which VPP does it."""
    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCSIFHWADDR, struct.pack("16sH6s16x", encoded, _ARPHRD_ETHER, mac))
        if config.host_ip4 is not None:
            address, length = config.host_ip4
            fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s8x", encoded, _socket_address(address)))
            fcntl.ioctl(
                control, _SIOCSIFNETMASK, struct.pack("16s16s8x", encoded, _socket_address(MASKS[length]))
            )
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", encoded, 0))
        flags = struct.unpack_from("H", answer, 16)[0] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", encoded, flags))
        if config.host_ip4_gateway is not None:
            fcntl.ioctl(control, _SIOCADDRT, _default_route(config.host_ip4_gateway))
        if config.host_mtu:
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", encoded, config.host_mtu))


def _socket_address(address: int) -> bytes:
    return struct.pack("=HH", socket.AF_INET, 0) + address.to_bytes(4, "big") + bytes(8)


def _default_route(gateway: int) -> bytes:
    """struct rtentry for 0.0.0.0/0 by a gateway."""
    any_address = _socket_address(0)
    flags = _RTF_UP | _RTF_GATEWAY
    return (
        struct.pack("@L", 0)
        + any_address
        + _socket_address(gateway)
        + any_address
        + struct.pack("@HhLPhPLLH6x", flags, 0, 0, 0, 0, 0, 0, 0, 0)
    )
