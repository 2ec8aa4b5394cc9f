# SPDX-License-Identifier: Apache-2.0
"""Refusals of the API half; those of the dataplane are ``DataplaneError``. Numbers are VPP's (``vnet/error.h``)."""

from __future__ import annotations

UNSPECIFIED = -1
INVALID_SW_IF_INDEX = -2
NO_SUCH_ENTRY = -6
INVALID_VALUE = -7
UNIMPLEMENTED = -9
INVALID_SW_IF_INDEX_2 = -10
INVALID_REGISTRATION = -31
NO_PATHS_IN_ROUTE = -52
NO_MATCHING_INTERFACE = -54
SAME_SRC_DST = -82
UNSUPPORTED = -126
INVALID_PREFIX_LENGTH = -171
INVALID_ADDRESS_FAMILY = -97


class Refusal(Exception):
    """A request that is answered with an error number."""

    def __init__(self, retval: int, message: str) -> None:
        super().__init__(message)
        self.retval = retval
