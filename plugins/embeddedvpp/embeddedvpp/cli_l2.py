# SPDX-License-Identifier: Apache-2.0
"""The ``show`` commands of layer 2 and VXLAN, in VPP's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cli_show import CliError
from .columns import column, row
from .dataplane import DataplaneError, Feature, Interface, Retval, VxlanTunnel, format_ip4, format_mac
from .dataplane.bridge import BridgeDomain

if TYPE_CHECKING:
    from .api.vpp import Vpp
    from .dataplane.l2_fib import L2FibEntry

UNSET = 0xFFFFFFFF
GLOBAL_LEARN_LIMIT = 16 << 20
NODES = (
    "l2-output", "l2-flood", "l2-uu-fwd", "arp-term-l2bd", "l2-flood", "l2-uu-fwd", "l2-fwd", "l2-rw", "l2-learn",
    "sr-pl-rewrite-encaps-l2", "l2-input-vtr", "l2-ip-qos-record", "vpath-input-l2", "l2-input-acl",
    "l2-policer-input", "l2-policer-classify", "l2-input-feat-arc", "l2-input-classify", "span-l2-input",
)  # fmt: skip
"""The nodes of the features from bit 1 on."""


def show_bridge_domain(vpp: Vpp, words: list[str]) -> str:
    """Show bridge domains: show bridge-domain [N [detail | int | bd-tag]]"""
    bridges = vpp.dataplane.bridges
    chosen, more = list(bridges), set(words[1:])
    if words:
        number = int(words[0])
        if number == 0:
            raise DataplaneError(
                Retval.BD_NOT_MODIFIABLE, "No operations on the default bridge domain are supported"
            )
        if number not in bridges.by_id:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, f"No such bridge domain {number}")
        chosen = [bridges.get(number)]
    if not chosen:
        return "no bridge-domains in use\n"
    heads = (
        ("BD-ID", 8), ("Index", 7), ("BSN", 4), ("Age(min)", 9), ("Learning", 9), ("U-Forwrd", 9), ("UU-Flood", 11),
        ("Flooding", 9), ("ARP-Term", 9), ("arp-ufwd", 9), ("Learn-count", 8), ("Learn-limit", 8), ("BVI-Intf", 11),
    )  # fmt: skip
    lines = [_cells(*heads)]
    for domain in chosen:
        lines += _domain(vpp, domain, more)
    return "".join(f"{line}\n" for line in lines)


def _cells(*cells: tuple[object, int]) -> str:
    return " ".join(column(text, width) for text, width in cells)


def _domain(vpp: Vpp, domain: BridgeDomain, more: set[str]) -> list[str]:
    on = [
        "on" if domain.features & bit else "off"
        for bit in (Feature.LEARN, Feature.FWD, Feature.FLOOD, Feature.ARP_TERM, Feature.ARP_UFWD)
    ]
    if domain.uu_fwd is not None:
        unknown = domain.uu_fwd.name
    else:
        unknown = "flood" if domain.features & Feature.UU_FLOOD else "drop"
    bridges = vpp.dataplane.bridges
    lines = [
        _cells(
            (domain.bd_id, 8), (domain.index, 7), (bridges.domain_sequence.get(domain.index, 0), 4),
            (domain.mac_age or "off", 9), (on[0], 9), (on[1], 9), (unknown, 11), (on[2], 9), (on[3], 9), (on[4], 9),
            (bridges.fib.learnt(domain.index), 8), (domain.learn_limit, 8),
            (domain.bvi.name if domain.bvi else "N/A", 11),
        )
    ]  # fmt: skip
    detail = bool(more & {"detail", "det"})
    if detail:
        bits = range(len(NODES), 0, -1)
        lines.append("".join(f"{NODES[bit - 1]} " for bit in bits if domain.features & 1 << bit))
    if detail or "int" in more:
        lines += _members(vpp, domain)
    if (detail or "arp" in more) and domain.features & Feature.ARP_TERM:
        lines += ["", "  IP4/IP6 to MAC table for ARP Termination"]
    if (detail or "bd-tag" in more) and domain.tag:
        lines += ["", f"  BD-Tag: {domain.tag}"]
    return lines


def _members(vpp: Vpp, domain: BridgeDomain) -> list[str]:
    lines = []
    if domain.members:
        heads = (
            ("Interface", 30), ("If-idx", 7), ("ISN", 5), ("SHG", 5), ("BVI", 5), ("TxFlood", 9),
            ("VLAN-Tag-Rewrite", 30),
        )  # fmt: skip
        lines = ["", row(*heads)]
    for found in domain.members:
        shg = found.l2.shg if found.l2 is not None else 0
        flags = ("*" if found is domain.bvi else "-", "*" if found in domain.flooded else "-")
        lines.append(_member(vpp, found, shg, flags, "none"))
    if domain.uu_fwd is not None:
        lines.append(_member(vpp, domain.uu_fwd, 0, ("uu", "-"), "None", sequence=0))
    return lines


def _member(  # noqa: PLR0917 - a line of a table
    vpp: Vpp, found: Interface, shg: int, flags: tuple[str, str], rewrite: str, sequence: int | None = None
) -> str:
    index = found.sw_if_index
    number = vpp.dataplane.bridges.port_sequence.get(index, 0) if sequence is None else sequence
    return row(
        (found.name, 30), (index, 7), (number, 5), (shg, 5), (flags[0], 5), (flags[1], 9), (rewrite, 30)
    )


def show_l2fib(vpp: Vpp, words: list[str]) -> str:
    """Show the layer 2 FIB: show l2fib [all | verbose | learn | add | bd_id N | bd_index N]"""
    bridges = vpp.dataplane.bridges
    entries = list(bridges.fib)
    shown, verbose, words = entries, bool(words), list(words)
    while words:
        word = words.pop(0)
        if word == "bd_id":
            number = int(words.pop(0))
            if number not in bridges.by_id:
                raise DataplaneError(Retval.NO_SUCH_ENTRY, f"bridge domain id {number} doesn't exist")
            index = bridges.by_id[number].index
            shown = [found for found in shown if found.domain == index]
        elif word == "bd_index":
            index = int(words.pop(0))
            shown = [found for found in shown if found.domain == index]
        elif word in ("learn", "add"):
            shown = [found for found in shown if found.learnt == (word == "learn")]
        elif word not in ("all", "verbose"):
            raise CliError(word)
    if not entries:
        return "no l2fib entries\n"
    lines = []
    if verbose:
        heads = (
            ("Mac-Address", 19), ("BD-Idx", 7), ("If-Idx", 7), ("BSN-ISN", 8), ("Age(min)", 9), ("static", 7),
            ("filter", 7), ("bvi", 5), ("Interface-Name", 30),
        )  # fmt: skip
        lines = [row(*heads), *(_fib_line(vpp, found) for found in shown)]
    lines.append(
        f"L2FIB total/learned entries: {len(entries)}/{bridges.fib.learnt()}  Last scan time: 0.0000e0sec  "
        f"Learn limit: {GLOBAL_LEARN_LIMIT} "
    )
    return "".join(f"{line}\n" for line in lines)


def _fib_line(vpp: Vpp, found: L2FibEntry) -> str:
    domain = next(
        (each for each in vpp.dataplane.bridges.by_id.values() if each.index == found.domain), None
    )
    age = "no"
    if found.learnt:
        age = "-" if domain is None or not domain.mac_age else str(int(vpp.dataplane.time() - found.updated) // 60)
    interface = vpp.dataplane.interfaces.find(found.sw_if_index)
    name = interface.name if interface else "Stale"
    index = found.sw_if_index
    if index == UNSET:
        name, index = "N/A", -1
    marks = ["*" if each else "-" for each in (found.static, found.filter, found.bvi)]
    sequence = f"{found.sequence[0]:>3}/{found.sequence[1]:<3}"
    head = row((format_mac(found.mac), 19), (found.domain, 7), (index, 7))
    return f"{head} {sequence}{row((age, 9), (marks[0], 7), (marks[1], 7), (marks[2], 5), (name, 30))}"


def show_vxlan_tunnel(vpp: Vpp, words: list[str]) -> str:
    """Show VXLAN tunnels"""
    if words:
        raise CliError(words[0])
    tunnels = vpp.dataplane.graph.vxlan.tunnels()
    if not tunnels:
        return "No vxlan tunnels configured...\n"
    return "".join(f"{_tunnel(found)}\n" for found in tunnels)


def _tunnel(found: VxlanTunnel) -> str:
    drop = "decap-next-drop " if found.decap_next == 0 else ""
    return (
        f"[{found.index}] instance {found.instance} src {format_ip4(found.source)} dst {format_ip4(found.destination)} "
        f"src_port {found.source_port} dst_port {found.destination_port} vni {found.vni} "
        f"fib-idx {found.table.index} sw-if-idx {found.interface.sw_if_index} encap-dpo-idx 0 {drop}"
    )
