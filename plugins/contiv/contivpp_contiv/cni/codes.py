# SPDX-License-Identifier: Apache-2.0
"""Error codes of CNI: the specification's ("Error"), libcni's, and this plugin's own (from 100 on)."""

from __future__ import annotations

__all__ = ["ErrorCode"]


class ErrorCode:
    """The codes in use."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    """libcni's: the namespace is the one in which the plugin itself runs."""
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    """STATUS: no ADD can be served."""
    LIMITED_CONNECTIVITY = 51
    """STATUS: nor may existing containers be connected."""
    INTERFACE_EXISTS = 100
    """ADD: the container has an interface of that name."""
    DIFFERS = 101
    """CHECK: something is not as it was set up."""
    INTERNAL = 999
