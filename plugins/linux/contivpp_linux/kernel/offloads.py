# SPDX-License-Identifier: Apache-2.0
"""Offload settings by the ethtool ioctl.

Each setting has one command to read and one to write. A socket of any family serves; its namespace counts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct

from .values import Offload

__all__ = ["read", "write"]

_SIOCETHTOOL = 0x8946
_VALUE = struct.Struct("=II")
_REQUEST = struct.Struct("16sP16x")
_NAME_LENGTH = 15

_READ = {
    Offload.RX_CHECKSUM: 0x14,
    Offload.TX_CHECKSUM: 0x16,
    Offload.SCATTER_GATHER: 0x18,
    Offload.TSO: 0x1E,
    Offload.GSO: 0x23,
    Offload.GRO: 0x2B,
}
_WRITE = {
    Offload.RX_CHECKSUM: 0x15,
    Offload.TX_CHECKSUM: 0x17,
    Offload.SCATTER_GATHER: 0x19,
    Offload.TSO: 0x1F,
    Offload.GSO: 0x24,
    Offload.GRO: 0x2C,
}


def read(device: socket.socket, link: str, offload: Offload) -> bool:
    """Return whether an offload is on; OSError if the link or the setting is not there."""
    return bool(_command(device, link, _READ[offload], 0))


def write(device: socket.socket, link: str, offload: Offload, *, on: bool) -> None:
    """Switch an offload; OSError if the link or the setting is not there, or the driver cannot."""
    _command(device, link, _WRITE[offload], int(on))


def _command(device: socket.socket, link: str, command: int, data: int) -> int:
    name = link.encode()
    if not name or len(name) > _NAME_LENGTH:
        raise OSError(errno.ENODEV, "no such link", link)
    value = ctypes.create_string_buffer(_VALUE.pack(command, data), _VALUE.size)
    fcntl.ioctl(device, _SIOCETHTOOL, _REQUEST.pack(name, ctypes.addressof(value)))
    return int(_VALUE.unpack(value.raw)[1])
