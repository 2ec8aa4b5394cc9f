# SPDX-License-Identifier: Apache-2.0
"""The errors of the sandbox. Every message says what went wrong, where, and what to do about it."""

from __future__ import annotations

from contivpp_core.errors import ContivError

__all__ = ["MachineLacks", "NamespacesRefused", "SandboxError"]


class SandboxError(ContivError):
    """The sandbox cannot do what was asked."""


class MachineLacks(SandboxError):
    """This machine, or this user's limits, cannot run what was asked for; nothing in the sandbox is wrong."""


class NamespacesRefused(MachineLacks):
    """This machine, or this user, gets no namespaces."""
