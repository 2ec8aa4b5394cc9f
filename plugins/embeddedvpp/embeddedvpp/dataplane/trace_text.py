# SPDX-License-Identifier: Apache-2.0
"""Packets in the words of VPP's ``show trace``: Ethernet, ARP, IPv4 and what is in it.

VPP keeps 64 bytes of a packet for its trace and says of the rest that it is truncated or nothing; so do these.
"""

from __future__ import annotations

from .addresses import format_ip4, format_mac

KEPT = 64  # bytes of a packet
Data = bytes | bytearray
_ETHERNET_TYPES = {0x0800: "IP4", 0x0806: "ARP", 0x86DD: "IP6", 0x8100: "VLAN", 0x88A8: "DOT1AD", 0x88CC: "802_1_LLDP"}
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 4: "IP_IN_IP", 6: "TCP", 17: "UDP", 41: "IPV6", 47: "GRE", 50: "IPSEC_ESP",
              51: "IPSEC_AH", 89: "OSPF", 132: "SCTP"}  # fmt: skip
_DSCP = {0: "CS0", 8: "CS1", 10: "AF11", 12: "AF12", 14: "AF13", 16: "CS2", 18: "AF21", 20: "AF22", 22: "AF23",
         24: "CS3", 26: "AF31", 28: "AF32", 30: "AF33", 32: "CS4", 34: "AF41", 36: "AF42", 38: "AF43", 40: "CS5",
         46: "EF", 48: "CS6", 50: "CS7"}  # fmt: skip
_ECN = ("NON_ECN", "ECT_0", "ECT_1", "CE")
_FLAGS = ((0x2000, "MORE_FRAGMENTS"), (0x4000, "DONT_FRAGMENT"), (0x8000, "CONGESTION"))
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_ICMP_TYPES = {0: "echo_reply", 3: "destination_unreachable", 4: "source_quench", 5: "redirect", 8: "echo_request",
               11: "time_exceeded", 12: "parameter_problem", 13: "timestamp_request", 14: "timestamp_reply",
               17: "address_mask_request", 18: "address_mask_reply"}  # fmt: skip
_ICMP_CODES = {
    (3, 0): "destination_unreachable_net", (3, 1): "destination_unreachable_host", (3, 2): "protocol_unreachable",
    (3, 3): "port_unreachable", (3, 4): "fragmentation_needed_and_dont_fragment_set",
    (3, 9): "network_administratively_prohibited", (3, 10): "host_administratively_prohibited",
    (3, 13): "communication_administratively_prohibited", (11, 0): "ttl_exceeded_in_transit",
    (11, 1): "fragment_reassembly_time_exceeded",
}  # fmt: skip


def _number(data: Data, at: int, size: int = 2) -> int:
    return int.from_bytes(data[at : at + size], "big")


def frame_text(frame: Data, *, inside: bool = True) -> str:
    """A frame's header; with ``inside`` what is in it, too."""
    kind, start, tags = _number(frame, 12), 14, ""
    while kind in (0x8100, 0x88A8) and len(frame) >= start + 4:
        name = "802.1q" if kind == 0x8100 else "802.1ad"
        tags += f" {name} vlan {_number(frame, start) & 0xFFF}"
        kind = _number(frame, start + 2)
        start += 4
    shown = _ETHERNET_TYPES.get(kind, f"0x{kind:04x}")
    text = f"{shown}: {format_mac(bytes(frame[6:12]))} -> {format_mac(bytes(frame[:6]))}{tags}"
    if inside and kind == 0x0800:
        text += "\n" + ip4_text(frame[start:])
    elif inside and kind == 0x0806:
        text += "\n" + arp_text(frame[start:])
    return text


def arp_text(data: Data) -> str:
    """An ARP packet."""
    if len(data) < 28:
        return "ARP header truncated"
    operation = {1: "request", 2: "reply"}.get(_number(data, 6), f"0x{_number(data, 6):04x}")
    sender, target = (
        f"{format_mac(bytes(data[at : at + 6]))}/{format_ip4(_number(data, at + 6, 4))}" for at in (8, 18)
    )
    return f"{operation}, type ethernet/IP4, address size {data[4]}/{data[5]}\n{sender} -> {target}"


def ip4_text(data: Data) -> str:
    """An IPv4 packet."""
    if len(data) < 20:
        return "IP header truncated"
    protocol = _PROTOCOLS.get(data[9], f"unknown {data[9]}")
    lines = [f"{protocol}: {format_ip4(_number(data, 12, 4))} -> {format_ip4(_number(data, 16, 4))}"]
    size = (data[0] & 15) * 4
    if data[0] != 0x45:
        lines.append(f"  version {data[0] >> 4}, header length {size}")
    dscp = _DSCP.get(data[1] >> 2, str(data[1] >> 2))
    lines.append(
        f"  tos 0x{data[1]:02x}, ttl {data[8]}, length {_number(data, 2)}, checksum 0x{_number(data, 10):04x}"
        f" dscp {dscp} ecn {_ECN[data[1] & 3]}"
    )
    flags = _number(data, 6)
    offset = (flags & 0x1FFF) * 8
    names = "".join(name for bit, name in _FLAGS if flags & bit)
    lines.append(
        f"  fragment id 0x{_number(data, 4):04x}"
        + (f" offset {offset}" if offset else "")
        + (f", flags {names}" if names else "")
    )
    if not offset and len(data) > size >= 20:
        lines += _transport_lines(data[9], data[size:KEPT])
    return "\n".join(lines)


def _transport_lines(protocol: int, data: Data) -> list[str]:
    if protocol == 1 and len(data) >= 4:
        return [_icmp_line(data)]
    if protocol not in (6, 17) or len(data) < (8 if protocol == 17 else 20):
        return []
    ends = f"{_PROTOCOLS[protocol]}: {_number(data, 0)} -> {_number(data, 2)}"
    if protocol == 17:
        return [ends, f"  length {_number(data, 4)}, checksum 0x{_number(data, 6):04x}"]
    flags = "".join(f" {name}" for bit, name in enumerate(_TCP_FLAGS) if data[13] >> bit & 1)
    return [
        ends,
        f"  seq. 0x{_number(data, 4, 4):08x} ack 0x{_number(data, 8, 4):08x}",
        f"  flags 0x{data[13]:02x}{flags}, tcp header: {(data[12] >> 4) * 4} bytes",
        f"  window {_number(data, 14)}, checksum 0x{_number(data, 16):04x}",
    ]


def _icmp_line(data: Data) -> str:
    kind = _ICMP_TYPES.get(data[0], f"unknown 0x{data[0]:x}")
    code = _ICMP_CODES.get((data[0], data[1]), "")
    text = f"ICMP {kind} {code}".rstrip() + f" checksum 0x{_number(data, 2):x}"
    return text + (f" id {_number(data, 4)}" if data[0] in (0, 8) else "")


def hex_lines(data: Data) -> list[str]:
    """The first 60 bytes, in two lines."""
    padded = bytes(data[:60]).ljust(60, b"\0").hex()
    return [f"00000000: {padded[:64]}", f"00000020: {padded[64:]}"]
