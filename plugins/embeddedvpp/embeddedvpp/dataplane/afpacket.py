# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET ports: an interface ``host-NAME`` on a Linux interface of the process's own network namespace.

The pod's side of a veth pair must have transmit checksum offload off: AF_PACKET hands frames over before
the kernel has filled their checksums in. The kernel takes 802.1Q tags off; they are put back where an interface has
sub-interfaces or is bridged, and else not looked for, since that costs time.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from .devices import DevicePort
from .errors import DataplaneError, Retval

if TYPE_CHECKING:
    from .interfaces import Interface
    from .model import Dataplane

DEVICE_CLASS = "af-packet"
RECEIVE_BUFFER = 8 << 20
_ETH_P_ALL = 3
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _MR_PROMISC, _QDISC_BYPASS, _IGNORE_OUTGOING = 1, 1, 20, 23
_SO_RCVBUFFORCE = 33
_AUXILIARY_DATA, _TAG_VALID = 8, 16
_AUXILIARY = struct.Struct("=I12xHH")  # struct tpacket_auxdata: status, and the tag with its type
_TAG_SIZE, _EXTRA_SIZE = 4, 64
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class AfPacketPort(DevicePort):
    """A raw packet socket bound to a Linux interface."""

    input_node = "af-packet-input"

    def __init__(self, dataplane: Dataplane, host_if_name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            index = socket.if_nametoindex(host_if_name)
            _set_up(self.socket, host_if_name)
            self.socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self.socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
            # Frames for the MAC address of VPP's interface must pass a NIC that has another one.
            self.socket.setsockopt(
                _SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", index, _MR_PROMISC, 0, b"")
            )
            _set_receive_buffer(self.socket)
            self.socket.setblocking(False)
            self.socket.bind((host_if_name, _ETH_P_ALL))
        except OSError:
            self.socket.close()
            raise
        super().__init__(dataplane, self.socket.fileno())
        self._receive: Callable[[bytearray], int] = self.socket.recv_into
        self._with_tags = False

    def read(self) -> int:
        """Read one frame."""
        return self._receive(self._buffer)

    def _readable(self) -> None:
        interface = self.interface
        if interface is not None and not self._with_tags and (interface.subs or interface.l2 is not None):
            self._with_tags = True  # from now on somebody wants to know
            self.socket.setsockopt(_SOL_PACKET, _AUXILIARY_DATA, 1)
            self._receive = self._receive_with_tag
        super()._readable()

    def _receive_with_tag(self, buffer: bytearray) -> int:
        """The kernel takes 802.1Q tags off and tells them beside the frame; here they are put back."""
        view = memoryview(buffer)
        size, extra, _, _ = self.socket.recvmsg_into([view[_TAG_SIZE:]], _EXTRA_SIZE)
        for level, kind, content in extra:
            if (level, kind) == (_SOL_PACKET, _AUXILIARY_DATA):
                status, tag, protocol = _AUXILIARY.unpack(content)
                if status & _TAG_VALID:
                    view[:12] = view[_TAG_SIZE : _TAG_SIZE + 12]
                    view[12:16] = struct.pack("!HH", protocol or 0x8100, tag)
                    return size + _TAG_SIZE
        view[:size] = bytes(view[_TAG_SIZE : _TAG_SIZE + size])
        return size

    def write(self, frame: bytes) -> object:
        """Write one frame."""
        return self.socket.send(frame)

    def release(self, *, keep: bool) -> None:
        """Close the socket."""
        self.socket.close()


def create_af_packet(dataplane: Dataplane, host_if_name: str, *, mac: bytes | None = None) -> Interface:
    """``host-NAME`` on a Linux interface, which is set up; needs a running event loop."""
    name = f"host-{host_if_name}"
    if name in dataplane.interfaces.by_name:
        raise DataplaneError(Retval.IF_ALREADY_EXISTS, f"{name} exists already")
    try:
        socket.if_nametoindex(host_if_name)
    except OSError:
        raise DataplaneError(
            Retval.INVALID_INTERFACE,
            f"no Linux interface {host_if_name!r} in this network namespace",
        ) from None
    try:
        port = AfPacketPort(dataplane, host_if_name)
    except OSError as error:
        raise DataplaneError(Retval.SYSCALL_ERROR_1, f"AF_PACKET on {host_if_name}: {error}") from error
    instance = dataplane.interfaces.free_instance(DEVICE_CLASS)
    interface = dataplane.add_interface(name, device_class=DEVICE_CLASS, instance=instance, mac=mac)
    interface.host_if_name = host_if_name
    port.start(interface)
    return interface


def delete_af_packet(dataplane: Dataplane, host_if_name: str) -> None:
    """Remove ``host-NAME``; the Linux interface stays."""
    interface = dataplane.interfaces.by_name.get(f"host-{host_if_name}")
    if interface is None or interface.device_class != DEVICE_CLASS:
        raise DataplaneError(Retval.SYSCALL_ERROR_1, f"there is no host interface on {host_if_name!r}")
    dataplane.delete_interface(interface.sw_if_index)


def _set_up(descriptor: socket.socket, name: str) -> None:
    request = struct.pack("16sH14x", name.encode(), 0)
    flags = struct.unpack_from("H", fcntl.ioctl(descriptor, _SIOCGIFFLAGS, request), 16)[0]
    if not flags & _IFF_UP:
        fcntl.ioctl(descriptor, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | _IFF_UP))


def _set_receive_buffer(descriptor: socket.socket) -> None:
    try:
        descriptor.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
