# SPDX-License-Identifier: Apache-2.0
"""The section `contiv` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from contivpp_core.config import Section

__all__ = ["VXLAN_OVERHEAD", "ContivConfig"]

VXLAN_OVERHEAD = 50
"""What VXLAN adds to an IPv4 packet: Ethernet 14, VXLAN 8, UDP 8, IPv4 20 bytes (RFC 7348, figure 1)."""


class ContivConfig(Section):
    """Wiring of the node and of its pods."""

    cni_socket: Path = Path("/run/contivpp/cni.sock")
    """Where the CNI executable finds the agent."""
    cni_log_bytes: int = Field(default=1 << 20, ge=0)
    """When the log of CNI calls, `cni.log` in the agent's run directory, is rotated (three old ones stay); 0: none."""
    runtime_socket: str = "auto"
    """Where the container runtime serves the CRI; `auto`: at one of the usual places; `none`: it is not asked."""
    runtime_check_seconds: float = Field(default=300.0, ge=10)
    """How often attachments are compared with the runtime's sandboxes, about, besides after changes."""
    runtime_grace_seconds: float = Field(default=600.0, ge=240)
    """How old an attachment must be before it counts that the runtime never listed its sandbox; the kubelet gives the
    making of a sandbox 240 s."""
    node_id: int | None = Field(default=None, ge=1, alias="nodeID")
    """The node's ID, from which its subnets follow; without one, the node claims one that is free."""
    id_rest_seconds: float = Field(default=600.0, ge=10, alias="idRestSeconds")
    """For how long the ID of a node that is gone is not given to another; the same on all nodes."""
    node_gone_seconds: float = Field(default=60.0, ge=1)
    """For how long a Node object must be missing before the node's ID is freed, and the node forgotten."""
    main_interface: str = ""
    """VPP's name of the NIC that reaches the other nodes; empty: the first that VPP has, else a loopback."""
    node_to_node_transport: Literal["vxlan", "nooverlay"] = "vxlan"
    """How packets go to other nodes; without the overlay all nodes must be on one link."""
    vxlan_vni: int = Field(default=10, ge=1, lt=1 << 24, alias="vxlanVNI")
    """The overlay's network identifier (RFC 7348)."""
    host_interconnect: Literal["auto", "tap", "veth"] = "auto"
    """How VPP reaches the host's stack; `auto` is a TAP where VPP can make one, else AF_PACKET over a veth pair."""
    route_service_cidr_to_vpp: bool = Field(default=False, alias="routeServiceCIDRToVPP")
    """Whether the host sends packets to services into VPP."""
    pod_interface: Literal["auto", "tap", "afpacket"] = "auto"
    """How pods are connected; `auto` is a TAP where VPP can make one, else AF_PACKET over a veth pair."""
    pod_vrf_id: int = Field(default=0, ge=0, lt=0xFFFFFFFF, alias="podVRFID")
    """The VRF of pods. 0, which is everybody's, is needed for source NAT and node ports."""
    underlay_mtu: int = Field(default=1500, ge=626, le=9216, alias="underlayMTU")
    """The largest IP packet, in bytes, that the network between the nodes carries."""
    mtu: int | None = Field(default=None, ge=576, le=9216)
    """The MTU of pods' interfaces, in bytes; without it: what the underlay carries, less the encapsulation."""
    af_packet_limit: int = Field(default=13, ge=0)
    """How many pods may have AF_PACKET interfaces; 0: any number. VPP 26.06 hangs when 16 have packets at once, and
    the NIC and the link to the host may be two more."""
    neighbour_max_age_seconds: int = Field(default=240, ge=0)
    """After how long VPP asks again for a neighbour that it learned, and forgets one that is silent; 0: never."""
    add_deadline_seconds: float = Field(default=100.0, gt=0, le=109)
    """How long an ADD may take; below the 110 s of the CNI executable and the 120 s of the kubelet."""

    @property
    def pod_mtu(self) -> int:
        """The MTU of pods in force."""
        return self._largest_mtu if self.mtu is None else self.mtu

    def mtu_for(self, asked: int | None) -> int:
        """Return the MTU of an interface: what the underlay leaves to pods, or less if that is asked for."""
        return min(asked or self.pod_mtu, self.pod_mtu)

    @property
    def _largest_mtu(self) -> int:
        return self.underlay_mtu - (VXLAN_OVERHEAD if self.node_to_node_transport == "vxlan" else 0)

    @field_validator("runtime_socket")
    @classmethod
    def _socket(cls, value: str) -> str:
        path = value.removeprefix("unix://")  # as the kubelet and crictl have it
        if path not in ("auto", "none") and not path.startswith("/"):
            raise ValueError("give the path of the runtime's socket (/run/containerd/containerd.sock), auto or none")
        return path

    @model_validator(mode="after")
    def _fits(self) -> ContivConfig:
        if self.pod_mtu > self._largest_mtu:
            raise ValueError(
                f"mtu {self.mtu} is more than the {self._largest_mtu} bytes that underlayMTU {self.underlay_mtu} "
                "leaves to pods: packets between nodes would be lost; lower it, or raise underlayMTU if the network can"
            )
        return self
