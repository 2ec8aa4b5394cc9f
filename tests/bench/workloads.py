# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of messages sends: the same objects for every client, on any VPP that has the messages."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors import nat44_mapping, route
from contivpp_vpp.items import Nat44Mapping, NatBackend, Path, Route
from contivpp_vpp.wire.base import Dump, Message, Request

__all__ = ["DUMPS", "WORK", "DumpWork", "Work", "prepare"]

VRF = 1
INTERFACE = "bench"
HANDLES = {f"vpp/interface/{INTERFACE}": 0}
PODS = 5000
RULES = 1000
SOURCE = "contivpp-bench"


@dataclass(frozen=True)
class Work:
    """Objects to add. `message` and `arguments` are what is timed before the encoding, of ours and of vpp_papi."""

    name: str
    messages: tuple[type[Message], ...]
    make: Callable[[int], Sequence[Any]]
    number: int
    message: Callable[[Any, int], Request[Any]]
    arguments: Callable[[Any, int], tuple[str, dict[str, Any]]]
    remove: Callable[[Connection, Sequence[Any], int], Awaitable[None]]


@dataclass(frozen=True)
class DumpWork:
    """A dump of what was added."""

    name: str
    of: str
    message: Callable[[int], Dump[Any]]
    arguments: Callable[[int], tuple[str, dict[str, Any]]]


def _address(number: int) -> str:
    return socket.inet_ntoa(((10 << 24) + number).to_bytes(4, "big"))


async def prepare(connection: Connection) -> int:
    """Make what the objects stand on; return the number of our FIB source."""
    await connection.request(m.IpTableAddDel(table=m.IpTable(table_id=VRF)))
    if m.Nat44EdPluginEnableDisable.table_name() in connection.table:
        await connection.request(m.Nat44EdPluginEnableDisable(enable=True))
    return (await connection.request(m.FibSourceAdd(src=m.FibSource(priority=0x82, name=SOURCE)))).id


def _ignored(request: Request[Any], error: Exception) -> None:
    """What a slower client had no time for is not there."""


# --- routes


def _routes(number: int) -> list[Route]:
    paths = (Path(interface=INTERFACE),)
    return [Route(vrf=VRF, prefix=f"{_address(n)}/32", paths=paths) for n in range(number)]


_LABEL = {"is_uniform": 0, "label": 0, "ttl": 0, "exp": 0}


def _route_arguments(item: Route, source: int) -> tuple[str, dict[str, Any]]:
    paths = [
        {"sw_if_index": HANDLES[f"vpp/interface/{path.interface}"], "weight": path.weight, "label_stack": [_LABEL] * 16}
        for path in item.paths
    ]
    wanted = {"table_id": item.vrf, "prefix": item.prefix, "src": source, "n_paths": len(paths), "paths": paths}
    return "ip_route_add_del_v2", {"is_add": True, "route": wanted}


async def _remove_routes(connection: Connection, items: Sequence[Route], source: int) -> None:
    await connection.send_all((route.removal(item.vrf, item.prefix, source) for item in items), _ignored)


# --- mappings


def _mappings(number: int) -> list[Nat44Mapping]:
    pods = [NatBackend(address=_address((1 << 20) + n), port=8080) for n in range(PODS)]
    return [
        Nat44Mapping(
            protocol="tcp",
            address=_address(n),
            port=80,
            backends=tuple(pods[(10 * n + k) % PODS] for k in range(10)),
            label=f"default/service-{n}:http",
        )
        for n in range(number)
    ]


def _mapping_arguments(item: Nat44Mapping, source: int) -> tuple[str, dict[str, Any]]:
    backends: list[dict[str, Any]] = [
        {"addr": each.address, "port": each.port, "probability": each.probability, "vrf_id": each.vrf}
        for each in item.backends
    ]
    backends.append({"addr": "0.0.0.0", "port": 1, "probability": 0, "vrf_id": 0})
    wanted = {
        "is_add": True,
        "flags": 4,
        "external_addr": item.address,
        "external_port": item.port,
        "protocol": 6,
        "tag": item.tag,
        "local_num": len(backends),
        "locals": backends,
    }
    return "nat44_add_del_lb_static_mapping", wanted


async def _remove_mappings(connection: Connection, items: Sequence[Nat44Mapping], source: int) -> None:
    await connection.send_all(map(nat44_mapping.removal, map(nat44_mapping.place_of, items)), _ignored)


# --- ACLs: there are no items of them; the messages are made before


def _acls(number: int) -> list[m.AclAddReplace]:
    return [
        m.AclAddReplace(
            tag=f"bench-{n}",
            r=tuple(
                m.AclRule(
                    is_permit=m.AclAction.PERMIT,
                    src_prefix=m.Prefix(address=(n * RULES + k).to_bytes(4, "big"), len=32),
                    dst_prefix=m.Prefix(address=((10 << 24) + k).to_bytes(4, "big"), len=32),
                    proto=m.IpProto.TCP,
                    dstport_or_icmpcode_first=80,
                    dstport_or_icmpcode_last=80,
                )
                for k in range(RULES)
            ),
        )
        for n in range(number)
    ]


def _acl_arguments(acl: m.AclAddReplace, source: int) -> tuple[str, dict[str, Any]]:
    rules = [
        {
            "is_permit": int(rule.is_permit),
            "src_prefix": f"{socket.inet_ntoa(rule.src_prefix.address)}/{rule.src_prefix.len}",
            "dst_prefix": f"{socket.inet_ntoa(rule.dst_prefix.address)}/{rule.dst_prefix.len}",
            "proto": int(rule.proto),
            "srcport_or_icmptype_last": rule.srcport_or_icmptype_last,
            "dstport_or_icmpcode_first": rule.dstport_or_icmpcode_first,
            "dstport_or_icmpcode_last": rule.dstport_or_icmpcode_last,
        }
        for rule in acl.r
    ]
    return "acl_add_replace", {"acl_index": acl.acl_index, "tag": acl.tag, "count": len(rules), "r": rules}


async def _remove_acls(connection: Connection, items: Sequence[m.AclAddReplace], source: int) -> None:
    found = await connection.dump(m.AclDump())
    await connection.send_all((m.AclDel(acl_index=each.acl_index) for each in found), _ignored)


WORK = (
    Work(
        "routes",
        (m.IpRouteAddDelV2, m.FibSourceAdd),
        _routes,
        10_000,
        lambda item, source: route.addition(item, HANDLES, source),
        _route_arguments,
        _remove_routes,
    ),
    Work(
        "mappings with 10 backends",
        (m.Nat44AddDelLbStaticMapping,),
        _mappings,
        10_000,
        lambda item, source: nat44_mapping.addition(item),
        _mapping_arguments,
        _remove_mappings,
    ),
    Work(
        "ACLs of 1,000 rules",
        (m.AclAddReplace,),
        _acls,
        100,
        lambda acl, source: acl,
        _acl_arguments,
        _remove_acls,
    ),
)


def _all_routes(source: int) -> tuple[str, dict[str, Any]]:
    return "ip_route_v2_dump", {"src": source, "table": {"table_id": VRF, "is_ip6": False, "name": ""}}


DUMPS = (
    DumpWork(
        "dump of routes",
        "routes",
        lambda source: m.IpRouteV2Dump(src=source, table=m.IpTable(table_id=VRF)),
        _all_routes,
    ),
)
