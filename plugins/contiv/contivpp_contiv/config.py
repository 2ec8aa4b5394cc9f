# SPDX-License-Identifier: Apache-2.0
"""The section `contiv` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from contivpp_core.config import Section

__all__ = ["ContivConfig"]


class ContivConfig(Section):
    """Wiring of the node and of its pods."""

    cni_socket: Path = Path("/run/contivpp/cni.sock")
    """Where the CNI executable finds the agent."""
    node_id: int = Field(default=1, ge=1, alias="nodeID")
    """The node's ID, from which its subnets follow."""
    pod_interface: Literal["auto", "tap", "afpacket"] = "auto"
    """How pods are connected; `auto` is a TAP where VPP can make one, else AF_PACKET over a veth pair."""
    pod_vrf_id: int = Field(default=0, ge=0, lt=0xFFFFFFFF, alias="podVRFID")
    """The VRF of pods. 0, which is everybody's, is needed for source NAT and node ports."""
    mtu: int = Field(default=1450, ge=576, le=9216)
    """The MTU of pods' interfaces, in bytes."""
    af_packet_limit: int = Field(default=14, ge=0)
    """How many pods may have AF_PACKET interfaces; 0: any number. VPP 26.06 hangs when 16 have packets at once."""
    add_deadline_seconds: float = Field(default=100.0, gt=0, le=109)
    """How long an ADD may take; below the 110 s of the CNI executable and the 120 s of the kubelet."""
