# SPDX-License-Identifier: Apache-2.0
"""Why packets die, or what was counted about them: the error counters of the graph's nodes.

Names are those of VPP's ``/err/<node>/<name>`` statistics and the texts those of its ``show errors``,
because people and dashboards look for them.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """One error counter of a node."""

    name: str
    severity: str
    description: str


def _error(name: str, description: str) -> Reason:
    return Reason(name, "error", description)


def _info(name: str, description: str) -> Reason:
    return Reason(name, "info", description)


def _old_error(text: str) -> Reason:
    """Of a node that has texts only: the text is the name."""
    return _error(text, text)


def _old_info(text: str) -> Reason:
    """As above."""
    return _info(text, text)


NO_ERROR = _old_error("no error")
BLACKHOLED = _old_error("blackholed packets")
INTERFACE_DOWN = _old_error("interface is down")
TX_FAILED = _error("tx_failed", "frames the port did not take")

ETHERNET_RUNT = _error("runt", "frame shorter than its headers")
ETHERNET_OVERSIZED = _error("oversized", "frame longer than the interface allows")
ETHERNET_UNKNOWN_TYPE = _old_error("unknown ethernet type")
ETHERNET_UNKNOWN_VLAN = _old_error("unknown vlan")
ETHERNET_MAC_MISMATCH = _old_error("l3 mac mismatch")
ETHERNET_SUB_DOWN = _old_error("subinterface down")
ETHERNET_DOWN = ETHERNET_SUB_DOWN  # an interface itself is not read from in VPP

IP4_TOO_SHORT = _error("too_short", "ip4 length < 20 bytes")
IP4_BAD_LENGTH = _error("bad_length", "ip4 length > l2 length")
IP4_BAD_CHECKSUM = _error("bad_checksum", "bad ip4 checksum")
IP4_VERSION = _error("version", "ip4 version != 4")
IP4_OPTIONS = _info("options", "ip4 options present")
IP4_FRAGMENT_OFFSET_ONE = _error("fragment_offset_one", "ip4 fragment offset == 1")
IP4_TIME_EXPIRED = _error("time_expired", "ip4 ttl <= 1")
IP4_HEADER_TOO_SHORT = _error("hdr_too_short", "ip4 IHL < 5")
IP4_MTU_EXCEEDED = _error("mtu_exceeded", "ip4 MTU exceeded and DF set")
IP4_SRC_LOOKUP_MISS = _error("src_lookup_miss", "ip4 source lookup miss")
IP4_RPF_FAILURE = _error("rpf_failure", "Multicast RPF check failed")
IP4_SPOOFED = _error("spoofed_local_packets", "ip4 spoofed local-address packet drops")
IP4_UNKNOWN_PROTOCOL = _error("unknown_protocol", "unknown ip protocol")
IP4_TCP_CHECKSUM = _error("tcp_checksum", "bad tcp checksum")
IP4_UDP_CHECKSUM = _error("udp_checksum", "bad udp checksum")
IP4_UDP_LENGTH = _error("udp_length", "inconsistent udp/ip lengths")

FRAG_SENT = _info("fragment_sent", "number of sent fragments")
FRAG_CANT_FRAGMENT = _error("cant_fragment_header", "can't fragment header")
REASS_DUPLICATE = _error("reass_duplicate_fragment", "duplicate/overlapping fragments")
REASS_LIMIT = _error("reass_limit_reached", "drops due to concurrent reassemblies limit")
REASS_TOO_LONG = _error("reass_fragment_chain_too_long", "fragment chain too long (drop)")
REASS_MALFORMED = _error("reass_malformed_packet", "malformed packets")
REASS_TIMEOUT = _error("reass_timeout", "fragments dropped due to reassembly timeout")
REASS_SUCCESS = _info("reass_success", "successful reassemblies")
REASS_REASSEMBLED = _info("reass_fragments_reassembled", "fragments reassembled")
REASS_RECEIVED = _info("reass_fragments_rcvd", "fragments received")

NO_LISTENER = _error("no_listener", "No listener for dst port")
TCP_NO_LISTENER = _error("no_listener", "No listener for dst port")
PROTOCOL_PUNT = _error("punt", "ip4 punt")

ICMP_UNKNOWN_TYPE = _error("unknown_type", "unknown type")
ICMP_TOO_SHORT = _error("length_too_small_for_type", "payload length too small for type")
ICMP_ECHO_REPLIES = _info("echo_replies_sent", "echo replies sent")
ICMP_UNREACH_SENT = _info("dest_unreach_sent", "destination unreachable response sent")
ICMP_TTL_SENT = _info("ttl_expire_sent", "hop limit exceeded response sent")
ICMP_DROP = _error("drop", "error message dropped")

ARP_REPLIES_SENT = _info("replies_sent", "ARP replies sent")
ARP_NOT_FOR_US = _error("not_for_us", "the target address is another host's")
ARP_DISABLED = _error("disabled", "ARP Disabled")
ARP_L2_TYPE = _error("l2_type_not_ethernet", "L2 type not ethernet")
ARP_L3_TYPE = _error("l3_type_not_ip4", "L3 type not IP4")
ARP_SRC_NOT_LOCAL = _error("l3_src_address_not_local", "IP4 source address not local to subnet")
ARP_DST_NOT_LOCAL = _error("l3_dst_address_not_local", "IP4 destination address not local to subnet")
ARP_DST_UNSET = _error("l3_dst_address_unset", "IP4 destination address is unset")
ARP_SRC_IS_LOCAL = _error("l3_src_address_is_local", "IP4 source address matches local interface")
ARP_LEARNED = _info("l3_src_address_learned", "ARP request IP4 source address learned")
ARP_MAC_MISMATCH = _error("l2_address_mismatch", "ARP hw addr does not match L2 frame src addr")
ARP_GRATUITOUS = _error("gratuitous_arp", "ARP probe or announcement dropped")
ARP_UNNUMBERED = _error("unnumbered_mismatch", "RX interface is unnumbered to different subnet")

NEIGHBOR_THROTTLED = _info("throttled", "ARP requests throttled")
NEIGHBOR_REQUEST_SENT = _info("request_sent", "ARP requests sent")
NEIGHBOR_NO_SOURCE = _error("no_source_address", "no source address for ARP request")
IP6_DISABLED = _error("ip6_not_enabled", "ip6 is not enabled on the interface")
IP4_DISABLED = _error("ip4_not_enabled", "ip4 is not enabled on the interface")
NO_ROUTE = _error("no_route", "no route, or no path of the route is usable")
DROP_ROUTE = _error("drop_route", "the route says drop")

L2_INPUT = _old_error("L2 input packets")
L2_LEARN = _old_error("L2 learn packets")
L2_LEARN_MISS = _old_error("L2 learn misses")
L2_MAC_MOVE = _old_error("L2 mac moves")
L2_MAC_MOVE_VIOLATION = _old_error("L2 mac move violations")
L2_LEARN_LIMIT = _old_error("L2 not learned due to limit")
L2_SOURCE_FILTERED = _old_error("L2 filter mac drops")
L2_FORWARD_MISS = _old_error("L2 forward misses")
L2_BVI_BAD_MAC = _old_error("BVI L3 MAC mismatch")
L2_BVI_ETHERTYPE = _old_error("BVI packet with unhandled ethertype")
L2_FILTERED = _old_error("Filter Mac Drop")
L2_REFLECTED = _old_error("Reflection Drop")
L2_UNKNOWN = _old_error("L2 UU fwd")
L2_FLOOD = _old_error("L2 flood packets")
L2_NO_MEMBERS = _old_error("L2 replication complete")
L2_FLOOD_BVI_BAD_MAC = _old_error("BVI L3 mac mismatch")
L2_OUTPUT = _old_error("L2 output packets")
L2_SPLIT_HORIZON = _old_error("L2 split horizon drops")
L2_BAD_INTERFACE = _old_error("L2 output to interface not in L2 mode or deleted")
L2_FEATURE_DISABLED = _old_error("L2 feature forwarding disabled")
L2_NOT_BRIDGED = _error("not_bridged", "the interface is in no bridge domain")

VXLAN_ENCAPSULATED = _old_error("good packets encapsulated")
VXLAN_DECAPSULATED = _old_error("good packets decapsulated")
VXLAN_NO_SUCH_TUNNEL = _old_error("no such tunnel packets")
VXLAN_BAD_FLAGS = _old_error("packets with bad flags field in vxlan header")
VXLAN_DROP = _error("decap_drop", "the tunnel drops what it receives")
VXLAN_LOOP = _error("loop", "the tunnel's far end is routed into the tunnel")
