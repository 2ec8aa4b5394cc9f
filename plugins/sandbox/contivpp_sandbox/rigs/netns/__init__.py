# SPDX-License-Identifier: Apache-2.0
"""Rigs of processes in network namespaces: with the embedded VPP, and with a real one."""

from __future__ import annotations

from contivpp_sandbox.rigs.netns.rig import NetnsRig
from contivpp_sandbox.servers.layout import Datastore

__all__ = ["NetnsRig", "sandbox_rig", "vpp_rig"]


def sandbox_rig(datastore: Datastore = "embedded") -> NetnsRig:
    """Return a rig with the embedded VPP."""
    return NetnsRig("sandbox", "embedded", datastore)


def vpp_rig(datastore: Datastore = "embedded") -> NetnsRig:
    """Return a rig with the VPP that CONTIVPP_VPP names."""
    return NetnsRig("vpp", "vpp", datastore)
