# SPDX-License-Identifier: Apache-2.0
"""Operations and listings as rtnetlink messages, coded by pyroute2.

pyroute2's description of a link's message is complete and therefore slow (0.3 ms for a veth); the short
one here names the attributes that are used. Import this module late: pyroute2 takes a tenth of a second.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from .operations import Add, CreateVeth, Delete, DeleteLink, Facet, MoveLink, Operation, Replace, SetLink
from .values import Address, Link, Neighbour, Route

__all__ = [
    "decode_address",
    "decode_link",
    "decode_neighbour",
    "decode_route",
    "dump_request",
    "encode",
    "link_request",
]

_NEW_LINK, _DELETE_LINK, _GET_LINK, _SET_LINK = 16, 17, 18, 19
_NEW = {Address: 20, Route: 24, Neighbour: 28}
_DELETE = {Address: 21, Route: 25, Neighbour: 29}
_DUMP = {Link: 18, Address: 22, Route: 26, Neighbour: 30}

_HEADER = struct.Struct("=IHHII")
_LINK_BYTES, _LINK_NAME = 16, 3  # of an ifinfomsg; IFLA_IFNAME

_REQUEST, _ACK = 0x1, 0x4
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_DUMP_FLAGS = 0x300

_UP, _PROMISCUOUS, _ALL_MULTICAST = 0x1, 0x100, 0x200
_PERMANENT = 0x80
_ON_LINK = 0x4
_FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


_LINK_FIELDS = (
    ("family", "B"),
    ("__align", "x"),
    ("type", "H"),
    ("index", "i"),
    ("flags", "I"),
    ("change", "I"),
)


class _VethPeer(nla):  # type: ignore[misc]
    __slots__ = ()
    fields = _LINK_FIELDS
    nla_map = (
        (1, "address", "lladdr"),
        (3, "name", "asciiz"),
        (4, "mtu", "uint32"),
        (28, "namespace", "uint32"),
    )


class _VethData(nla):  # type: ignore[misc]
    __slots__ = ()
    nla_map = ((1, "peer", "peer"),)
    peer = _VethPeer


class _LinkInfo(nla):  # type: ignore[misc]
    __slots__ = ()
    nla_map = ((1, "kind", "asciiz"), (2, "data", "veth"))
    veth = _VethData


class _LinkMessage(nlmsg):  # type: ignore[misc]
    __slots__ = ()
    fields = _LINK_FIELDS
    nla_map = (
        (1, "address", "lladdr"),
        (3, "name", "asciiz"),
        (4, "mtu", "uint32"),
        (5, "peer", "uint32"),
        (18, "info", "info"),
        (20, "alias", "asciiz"),
        (28, "namespace", "uint32"),
        (33, "carrier", "uint8"),
        (37, "peer_namespace", "int32"),
    )
    info = _LinkInfo


def encode(operation: Operation, sequence: int, *, index: int, namespace: int | None) -> bytes:
    """Return the message for an operation; `index` is its link's, `namespace` the descriptor of the other
    namespace.
    """
    match operation:
        case CreateVeth():
            message, code, flags = _veth(operation, namespace), _NEW_LINK, _CREATE | _EXCLUSIVE
        case DeleteLink():
            message, code, flags = _link(index), _DELETE_LINK, 0
        case MoveLink(name=name):
            message, code, flags = _link(index, name=name or None, namespace=namespace), _SET_LINK, 0
        case SetLink():
            message, code, flags = _set_link(operation, index), _SET_LINK, 0
        case Add(value=value):
            message, code, flags = _facet(value, index), _NEW[type(value)], _CREATE | _EXCLUSIVE
        case Replace(value=value):
            message, code, flags = _facet(value, index), _NEW[type(value)], _CREATE | _REPLACE
        case Delete(value=value):
            message, code, flags = _facet(value, index), _DELETE[type(value)], 0
        case _:
            raise TypeError(f"{operation!r} is no netlink operation")
    return _finish(message, code, _REQUEST | _ACK | flags, sequence)


def link_request(name: str, sequence: int) -> bytes:
    """Return the question for one link by name; written out, because each batch asks."""
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), _LINK_NAME) + text + bytes(-len(text) % 4)
    length = _HEADER.size + _LINK_BYTES + len(attribute)
    return _HEADER.pack(length, _GET_LINK, _REQUEST, sequence, 0) + bytes(_LINK_BYTES) + attribute


def dump_request(kind: type, family: int, sequence: int) -> bytes:
    """Return the question for all links, or the addresses, routes or neighbours of a family."""
    message = {Link: _LinkMessage, Address: ifaddrmsg, Route: rtmsg, Neighbour: ndmsg}[kind]()
    message["family"] = family
    return _finish(message, _DUMP[kind], _REQUEST | _DUMP_FLAGS, sequence)


def _finish(message: Any, code: int, flags: int, sequence: int) -> bytes:
    message["header"].update(type=code, flags=flags, sequence_number=sequence)
    message.encode()
    return bytes(message.data)


def _link(index: int, **attributes: Any) -> Any:
    message = _LinkMessage()
    message["index"] = index
    message["attrs"] = [(name, value) for name, value in attributes.items() if value is not None]
    return message


def _set_link(operation: SetLink, index: int) -> Any:
    message = _link(
        index, name=operation.name, address=operation.mac, mtu=operation.mtu, alias=operation.alias
    )
    if operation.up is not None:
        message["flags"] = _UP if operation.up else 0
        message["change"] = _UP
    return message


def _veth(operation: CreateVeth, namespace: int | None) -> Any:
    end = [("name", operation.name), ("address", operation.mac), ("mtu", operation.mtu)]
    peer = [("name", operation.peer_name), ("address", operation.peer_mac), ("mtu", operation.peer_mtu)]
    peer_attributes = [pair for pair in peer if pair[1]]
    if namespace is not None:
        peer_attributes.append(("namespace", namespace))
    message = _LinkMessage()
    data = {"attrs": [("peer", {"attrs": peer_attributes})]}
    message["attrs"] = [pair for pair in end if pair[1]]
    message["attrs"].append(("info", {"attrs": [("kind", "veth"), ("data", data)]}))
    return message


def _facet(value: Facet, index: int) -> Any:
    match value:
        case Address():
            return _address(value, index)
        case Route():
            return _route(value, index)
        case Neighbour():
            return _neighbour(value, index)


def _address(value: Address, index: int) -> Any:
    message = ifaddrmsg()
    text = str(value.address.ip)
    message.update(
        family=_FAMILIES[value.address.version],
        prefixlen=value.address.network.prefixlen,
        index=index,
        scope=value.scope,
    )
    message["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text), ("IFA_PROTO", value.protocol)]
    return message


def _route(value: Route, index: int) -> Any:
    message = rtmsg()
    message.update(
        family=_FAMILIES[value.destination.version],
        dst_len=value.destination.prefixlen,
        table=value.table if value.table < 256 else 252,  # 252: see the attribute
        proto=value.protocol,
        scope=value.scope,
        type=value.type,
        flags=_ON_LINK if value.on_link else 0,
    )
    attributes: list[tuple[str, object]] = [("RTA_TABLE", value.table)]
    if value.destination.prefixlen:
        attributes.append(("RTA_DST", str(value.destination.network_address)))
    if value.link is not None:
        attributes.append(("RTA_OIF", index))
    if value.gateway is not None:
        attributes.append(("RTA_GATEWAY", str(value.gateway)))
    if value.metric:
        attributes.append(("RTA_PRIORITY", value.metric))
    if value.source is not None:
        attributes.append(("RTA_PREFSRC", str(value.source)))
    message["attrs"] = attributes
    return message


def _neighbour(value: Neighbour, index: int) -> Any:
    message = ndmsg()
    message.update(family=_FAMILIES[value.address.version], ifindex=index, state=_PERMANENT)
    message["attrs"] = [("NDA_DST", str(value.address)), ("NDA_LLADDR", value.mac)]
    return message


def _attributes(message: Any) -> dict[str, Any]:
    return {slot[0]: slot[1] for slot in message["attrs"] if slot[0] != "UNKNOWN"}


def decode_link(data: bytes) -> Link:
    """Return the link that a message describes."""
    message = _LinkMessage(data)
    message.decode()
    found = _attributes(message)
    info = found.get("info")
    return Link(
        index=message["index"],
        name=found["name"],
        kind="" if info is None else info.get_attr("kind") or "",
        mac=found.get("address", ""),
        mtu=found.get("mtu", 0),
        up=bool(message["flags"] & _UP),
        promiscuous=bool(message["flags"] & _PROMISCUOUS),
        all_multicast=bool(message["flags"] & _ALL_MULTICAST),
        carrier=bool(found.get("carrier", 0)),
        alias=found.get("alias", ""),
        peer_index=found.get("peer"),
        peer_namespace=found.get("peer_namespace"),
    )


def decode_address(data: bytes, names: Mapping[int, str]) -> Address | None:
    """Return the address that a message describes; None if it is not of a known link and family."""
    message = ifaddrmsg(data)
    message.decode()
    if message["index"] not in names or message["family"] not in _FAMILIES.values():
        return None
    found = _attributes(message)
    text = found.get("IFA_LOCAL") or found["IFA_ADDRESS"]
    return Address(
        names[message["index"]],
        ip_interface(f"{text}/{message['prefixlen']}"),
        message["scope"],
        found.get("IFA_PROTO", 0),
    )


def decode_route(data: bytes, names: Mapping[int, str]) -> Route | None:
    """Return the route that a message describes; None if it is none of one path (cached, multipath,
    multicast).
    """
    message = rtmsg(data)
    message.decode()
    found = _attributes(message)
    if message["family"] not in _FAMILIES.values() or found.get("RTA_MULTIPATH"):
        return None
    default = "0.0.0.0" if message["family"] == _FAMILIES[4] else "::"
    gateway, source = found.get("RTA_GATEWAY"), found.get("RTA_PREFSRC")
    link = names.get(found.get("RTA_OIF", 0))
    return Route(
        ip_network(f"{found.get('RTA_DST', default)}/{message['dst_len']}"),
        link,
        None if gateway is None else ip_address(gateway),
        metric=found.get("RTA_PRIORITY", 0),
        source=None if source is None else ip_address(source),
        table=found.get("RTA_TABLE", message["table"]),
        protocol=message["proto"],
        type=message["type"],
        on_link=bool(message["flags"] & _ON_LINK),
        scope=message["scope"],
    )


def decode_neighbour(data: bytes, names: Mapping[int, str]) -> Neighbour | None:
    """Return the permanent neighbour that a message describes, None for any other."""
    message = ndmsg(data)
    message.decode()
    known = message["ifindex"] in names and message["family"] in _FAMILIES.values()
    if not known or not message["state"] & _PERMANENT:
        return None
    found = _attributes(message)
    return Neighbour(names[message["ifindex"]], ip_address(found["NDA_DST"]), found.get("NDA_LLADDR", ""))
