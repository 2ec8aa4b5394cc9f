# SPDX-License-Identifier: Apache-2.0
"""The network configuration: what an administrator or a runtime asks for, checked, and put into one form.

Keys that are not named here are ignored (CNI specification, "Other keys"); a wrong value of one that is named is
refused with its path. What a runtime asks for in several places counts in the order of CONVENTIONS.md: capabilities
(`runtimeConfig`), `args`, CNI_ARGS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Annotated, Any

import msgspec

from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.records import Dns, PodRoute
from contivpp_core.errors import RequestError
from contivpp_linux.kernel.operations import sysctl_path

__all__ = ["PodOptions", "parse_options", "path_and_reason"]

SMALLEST_MTU = 576  # RFC 791: what every host must accept
INTERFACE_TOKEN = "IFNAME"  # the tuning plugin's word for the container's interface
VALUE_CHARACTERS = 4096  # the kernel takes a page
UNSUPPORTED_OF_ROUTES = ("mtu", "advmss", "table", "scope")  # CNI 1.1.0 knows them


class _Route(msgspec.Struct):
    dst: str
    gw: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] | None = None
    mtu: int | None = None
    advmss: int | None = None
    table: int | None = None
    scope: int | None = None


class _Dns(msgspec.Struct):
    nameservers: list[str] | None = None
    domain: str | None = None
    search: list[str] | None = None
    options: list[str] | None = None


class _RuntimeDns(msgspec.Struct):
    servers: list[str] | None = None
    searches: list[str] | None = None
    options: list[str] | None = None


class _Asked(msgspec.Struct):
    mac: str | None = None
    ips: list[str] | None = None
    dns: _RuntimeDns | None = None


class _Args(msgspec.Struct):
    cni: _Asked | None = None


class _Network(msgspec.Struct):
    mtu: Annotated[int, msgspec.Meta(ge=SMALLEST_MTU)] | None = None
    sysctl: dict[str, str] | None = None
    routes: list[_Route] | None = None
    default_route: bool | None = msgspec.field(default=None, name="defaultRoute")
    dns: _Dns | None = None
    ipam: dict[str, Any] | None = None
    runtime: _Asked | None = msgspec.field(default=None, name="runtimeConfig")
    args: _Args | None = None


class PodOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for one interface; empty or None: the agent's choice.

    `address` is an IPv4 address without prefix length, `mtu` in bytes, `mac` as the kernel prints it. `sysctls` are
    pairs of path below /proc/sys and value.
    """

    address: str = ""
    mac: str = ""
    mtu: int | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    routes: tuple[PodRoute, ...] = ()
    default_route: bool = True
    dns: Dns = Dns()


def parse_options(config: Mapping[str, Any], arguments: Mapping[str, str], interface: str) -> PodOptions:
    """Return what a configuration and CNI_ARGS ask for; raise RequestError with the path of the first wrong key."""
    try:
        network = msgspec.convert(config, _Network)
    except msgspec.ValidationError as error:
        raise _told(error) from None
    if network.ipam and network.ipam.get("type"):
        plugin = str(network.ipam["type"])[:80]
        raise _refused(
            "ipam.type",
            f"{plugin!a} is not supported: the agent gives the addresses; leave 'ipam' out",
            code=ErrorCode.UNSUPPORTED_FIELD,
        )
    args = (network.args and network.args.cni) or _Asked()
    runtime = network.runtime or _Asked()
    return PodOptions(
        address=_address(_first(("runtimeConfig.ips", runtime.ips), ("args.cni.ips", args.ips), _list_of(arguments))),
        mac=_mac(_first(("runtimeConfig.mac", runtime.mac), ("args.cni.mac", args.mac), _text_of(arguments, "MAC"))),
        mtu=network.mtu,
        sysctls=_sysctls(network.sysctl or {}, interface),
        routes=_routes(network.routes or ()),
        default_route=network.default_route is not False,
        dns=_dns(network.dns or _Dns(), runtime.dns or _RuntimeDns()),
    )


def path_and_reason(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return where in a value something is wrong (`.routes[1].dst`, or ""), and what, as msgspec says it."""
    reason, _, path = str(error).partition(" - at ")
    return path.strip("`").removeprefix("$"), reason


def _told(error: msgspec.ValidationError) -> RequestError:
    """Return msgspec's error with the path first: `mtu: expected int, got str`."""
    path, reason = path_and_reason(error)
    name = path.removeprefix(".") or "the network configuration"
    return _refused(name, reason[:1].lower() + reason[1:].replace("`", ""))


def _refused(path: str, reason: str, *, code: int = ErrorCode.INVALID_CONFIG) -> RequestError:
    return RequestError(f"{path}: {reason}", code=code)


def _first(*places: tuple[str, Any]) -> tuple[str, Any]:
    """Return the first place that holds something."""
    return next((place for place in places if place[1]), ("", None))


def _text_of(arguments: Mapping[str, str], name: str) -> tuple[str, str]:
    return f"CNI_ARGS {name}", arguments.get(name, "")


def _list_of(arguments: Mapping[str, str]) -> tuple[str, list[str]]:
    return "CNI_ARGS IP", [address for address in (arguments.get("IP", ""),) if address]


# --- the values


def _address(place: tuple[str, list[str] | None]) -> str:
    """Return the one IPv4 address; a prefix length is accepted, and means nothing to an interface with a /32."""
    path, addresses = place
    if not addresses:
        return ""
    shown = ", ".join(addresses)[:80]
    if len(addresses) > 1:
        raise _refused(path, f"{shown!a}: an interface has one address", code=ErrorCode.UNSUPPORTED_FIELD)
    text, _, length = addresses[0].partition("/")
    try:
        address = ip_address(text)
        if length:
            ip_network((text, int(length)), strict=False)
    except ValueError:
        raise _refused(path, f"{shown!a} is no IP address") from None
    if not isinstance(address, IPv4Address):
        raise _refused(path, f"{shown!a}: IPv6 is not supported", code=ErrorCode.UNSUPPORTED_FIELD)
    return str(address)


def _mac(place: tuple[str, str | None]) -> str:
    path, text = place
    if not text:
        return ""
    parts = text.lower().replace("-", ":").split(":")
    try:
        values = [int(part, 16) for part in parts if len(part) == 2 and part.isalnum() and part.isascii()]
    except ValueError:
        values = []
    if len(parts) != 6 or len(values) != 6:
        raise _refused(path, f"{text[:80]!a} is no MAC address: give six pairs of hexadecimal digits")
    if values[0] & 1 or not any(values):
        raise _refused(path, f"{text!a} is not the address of one interface: take one that begins with 02")
    return ":".join(f"{value:02x}" for value in values)


def _sysctls(wanted: Mapping[str, str], interface: str) -> tuple[tuple[str, str], ...]:
    result: dict[str, str] = {}
    for name, value in wanted.items():
        path = sysctl_path(name) if name.isprintable() else None
        if path is None:
            raise _refused(f"sysctl.{name[:80]!a}", "is not below net.: only a network's sysctls belong to a container")
        if not value.isprintable() or len(value) > VALUE_CHARACTERS:
            raise _refused(f"sysctl.{name[:80]}", "the value must be printable, and at most a page long")
        full = "/".join(interface if part == INTERFACE_TOKEN else part for part in path.split("/"))
        if full in result:
            raise _refused(f"sysctl.{name[:80]}", "is there twice, in two ways of writing it")
        result[full] = value
    return tuple(sorted(result.items()))


def _routes(routes: Iterable[_Route]) -> tuple[PodRoute, ...]:
    result: dict[tuple[str, int], PodRoute] = {}
    for index, route in enumerate(routes):
        path = f"routes[{index}]"
        for name in UNSUPPORTED_OF_ROUTES:
            if value := getattr(route, name):
                raise _refused(f"{path}.{name}", f"{value} is not supported", code=ErrorCode.UNSUPPORTED_FIELD)
        destination = _network(f"{path}.dst", route.dst)
        gateway = _gateway(f"{path}.gw", route.gw) if route.gw else ""
        one = PodRoute(destination=destination, gateway=gateway, metric=route.priority or 0)
        if result.setdefault((one.destination, one.metric), one) is not one:
            raise _refused(path, f"a second route to {destination}: give it another priority")
    return tuple(result.values())


def _network(path: str, text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise _refused(path, f"{text[:80]!a} is no network in CIDR notation") from None
    if not isinstance(network, IPv4Network):
        raise _refused(path, f"{text!a}: IPv6 is not supported", code=ErrorCode.UNSUPPORTED_FIELD)
    return str(network)


def _gateway(path: str, text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise _refused(path, f"{text[:80]!a} is no IPv4 address") from None


def _dns(network: _Dns, runtime: _RuntimeDns) -> Dns:
    return Dns(
        nameservers=tuple(runtime.servers or network.nameservers or ()),
        domain=network.domain or "",
        search=tuple(runtime.searches or network.search or ()),
        options=tuple(runtime.options or network.options or ()),
    )
