# SPDX-License-Identifier: Apache-2.0
"""The errors of the agent.

    ContivError
    ├── ConfigError          the configuration is wrong: every fault with file, path and reason
    ├── PluginError          a plugin is missing, broken or does not fit; names its distribution
    ├── RequestError         a request (CNI) cannot be served; carries a CNI error code
    │   ├── AddressExhausted
    │   └── NotReady
    ├── RendererError        a renderer declares or does something that the contract forbids
    └── items.Unavailable    the dataplane's answer was lost

Every message says what went wrong, where, and what to do about it.
"""

from __future__ import annotations

__all__ = ["AddressExhausted", "ConfigError", "ContivError", "NotReady", "PluginError", "RendererError", "RequestError"]


class ContivError(Exception):
    """Base of all errors that are told to people."""


class ConfigError(ContivError):
    """The configuration cannot be used. `faults` has one line for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class PluginError(ContivError):
    """A plugin cannot be used; the message names the plugin and its distribution."""


class RendererError(ContivError):
    """A renderer broke its contract."""


class RequestError(ContivError):
    """A request is refused. `code` is the CNI error code (CNI specification, "Error")."""

    def __init__(self, message: str, *, code: int = 999, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class AddressExhausted(RequestError):
    """No address is left in the subnet."""


class NotReady(RequestError):
    """The agent cannot serve the request yet, or no longer; the runtime should try again (CNI code 11)."""

    def __init__(self, message: str, *, details: str = "") -> None:
        super().__init__(message, code=11, details=details)
