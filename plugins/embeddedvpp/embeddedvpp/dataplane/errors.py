# SPDX-License-Identifier: Apache-2.0
"""What the dataplane refuses, with the number that VPP's API answers for it.

The numbers are VPP's (``vnet/error.h``), so that the API half can answer ``error.retval`` without a table
of its own.
"""

from __future__ import annotations

from enum import IntEnum


class Retval(IntEnum):
    """VPP's API error numbers that the dataplane uses."""

    UNSPECIFIED = -1
    INVALID_SW_IF_INDEX = -2
    NO_SUCH_FIB = -3
    NO_SUCH_ENTRY = -6
    INVALID_VALUE = -7
    UNIMPLEMENTED = -9
    INVALID_SW_IF_INDEX_2 = -10
    SYSCALL_ERROR_1 = -11
    SYSCALL_ERROR_2 = -12
    SYSCALL_ERROR_3 = -13
    INVALID_REGISTRATION = -31
    NO_MATCHING_INTERFACE = -54
    INVALID_VLAN = -55
    VLAN_ALREADY_EXISTS = -56
    ADDRESS_LENGTH_MISMATCH = -59
    ADDRESS_NOT_FOUND_FOR_INTERFACE = -60
    INVALID_INTERFACE = -71
    UNEXPECTED_INTF_STATE = -74
    TUNNEL_EXIST = -75
    INVALID_DECAP_NEXT = -76
    IF_ALREADY_EXISTS = -79
    SAME_SRC_DST = -82
    INVALID_SUB_SW_IF_INDEX = -98
    ADDRESS_IN_USE = -105
    ADDRESS_FOUND_FOR_INTERFACE = -114
    BD_ALREADY_EXISTS = -119
    BD_IN_USE = -120
    BD_NOT_MODIFIABLE = -121
    BD_ID_EXCEED_MAX = -122
    DUPLICATE_IF_ADDRESS = -127
    NETLINK_ERROR = -145
    INSTANCE_IN_USE = -147
    BD_ALREADY_HAS_BVI = -152
    LIMIT_EXCEEDED = -162


class DataplaneError(Exception):
    """A request that cannot be done; ``retval`` is what VPP's API answers."""

    def __init__(self, retval: Retval, message: str) -> None:
        super().__init__(message)
        self.retval = retval
