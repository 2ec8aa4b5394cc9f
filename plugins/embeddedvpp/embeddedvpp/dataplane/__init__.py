# SPDX-License-Identifier: Apache-2.0
"""The packet half of the embedded VPP: what a dataplane holds, and a graph that forwards packets by it.

``Dataplane`` is all state and every operation on it (``model``); clients of the API and the CLI change it
only through its methods, which refuse with VPP's error numbers (``DataplaneError.retval``). What is in
force follows VPP: the pool of sw_if_index hands the index freed last out first, routes have sources with
priorities and stay when their interface goes, interface addresses bring their routes while the interface is
up, neighbours bring a /32 under an attached prefix.

Packets move through ``graph``: device-input → ethernet-input → arp-input or ip4-input → ip4-lookup →
ip4-rewrite, ip4-arp, ip4-glean, ip4-receive or ip4-drop → interface-output, with VPP's feature arcs between
them (``Graph.add_node``, ``ARC_ORDER``, ``Graph.enable_feature``). ``Graph.tracer`` hears of every drop: node,
interface, reason, bytes; ``Graph.error_counts`` is ``show errors``. Ports bring the frames: ``ports`` in memory,
``afpacket`` from a Linux interface, ``tap`` from a TAP made in any network namespace.

    dataplane = Dataplane()
    port = add_memory_interface(dataplane, "host-a")
    dataplane.add_address(port.interface.sw_if_index, ip4("10.0.0.1"), 24)
    dataplane.set_admin_state(port.interface.sw_if_index, up=True)
    dataplane.graph.tracer = lambda node, interface, reason, data: print(node, reason.description)
    port.inject(frame)  # what is sent comes out at port.on_transmit, or in port.sent

What is counted where, answers, and what dumps hold were compared with VPP 26.06 on an AF_PACKET interface.
``tests/bench_forwarding.py`` measures packets a second and ping between two namespaces.

Bridge domains (``bridge``, ``l2_nodes``), VXLAN tunnels (``vxlan``) and 802.1Q sub-interfaces (``sub_interfaces``)
hang on the same graph: frames of a bridged interface go from ethernet-input to l2-input, and come back by the BVI.

Packets that are too long for their way out are cut by ``ip4_frag``, fragments for VPP itself put together by
``reassembly``; ``load_balance`` chooses between paths as VPP does, ``trace`` is ``show trace``.

Not here yet, and refused or dropped with a counter of its own: IPv6 forwarding, multicast, more than one worker
thread.
"""

from .addresses import format_ip4, format_mac, ip4, random_mac
from .afpacket import create_af_packet, delete_af_packet
from .bridge import Feature, PortType
from .errors import DataplaneError, Retval
from .fib import API, CLI, Contribution, EntryFlag, FibEntry, FibSource, FibTable, Path, PathType
from .graph import ErrorCount, Graph, Node, Packet
from .icmp import EchoReply
from .interfaces import INVALID_INDEX, Counters, Interface, InterfaceEvent
from .model import Dataplane
from .neighbors import Neighbor, NeighborEvent
from .ports import MemoryPort, add_memory_interface, link
from .reasons import Reason
from .tap import TapConfig, TapFlag, create_tap, delete_tap
from .vxlan import VxlanTunnel

__all__ = [
    "API",
    "CLI",
    "INVALID_INDEX",
    "Contribution",
    "Counters",
    "Dataplane",
    "DataplaneError",
    "EchoReply",
    "EntryFlag",
    "ErrorCount",
    "Feature",
    "FibEntry",
    "FibSource",
    "FibTable",
    "Graph",
    "Interface",
    "InterfaceEvent",
    "MemoryPort",
    "Neighbor",
    "NeighborEvent",
    "Node",
    "Packet",
    "Path",
    "PathType",
    "PortType",
    "Reason",
    "Retval",
    "TapConfig",
    "TapFlag",
    "VxlanTunnel",
    "add_memory_interface",
    "create_af_packet",
    "create_tap",
    "delete_af_packet",
    "delete_tap",
    "format_ip4",
    "format_mac",
    "ip4",
    "link",
    "random_mac",
]
