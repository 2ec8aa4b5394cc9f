# SPDX-License-Identifier: Apache-2.0
"""What is answered: results in the version that was asked for, and errors (CNI specification, "Result Types").

A result begins with what earlier plugins of the chain say in `prevResult`, unchanged, and goes on with what this one
made; only the field `version` of addresses follows the version of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

import msgspec

from contivpp_contiv import names
from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.network import path_and_reason
from contivpp_contiv.cni.request import CniRequest
from contivpp_contiv.records import DEFAULT_ROUTE, Dns, LocalPod, PodRoute
from contivpp_core.errors import RequestError

__all__ = ["PreviousResult", "add_result", "error_result", "previous_result"]

Objects = tuple[Mapping[str, Any], ...]


class _Interface(msgspec.Struct):
    """What is needed of an entry, to check it."""

    name: str
    sandbox: str | None = None
    mac: str | None = None
    mtu: int | None = None


class _Address(msgspec.Struct):
    address: str
    interface: int | None = None


class _RouteEntry(msgspec.Struct):
    dst: str
    gw: str | None = None


class _Result(msgspec.Struct):
    interfaces: list[_Interface] | None = None
    ips: list[_Address] | None = None
    routes: list[_RouteEntry] | None = None
    dns: dict[str, Any] | None = None


class PreviousResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result with every key that it came with."""

    interfaces: Objects = ()
    ips: Objects = ()
    routes: Objects = ()
    dns: Mapping[str, Any] = {}

    def interface(self, name: str, sandbox: str) -> Mapping[str, Any] | None:
        """Return the entry of a container's interface, or None."""
        same = (each for each in self.interfaces if each["name"] == name and each.get("sandbox") == sandbox)
        return next(same, None)

    def promises(self, destination: str) -> bool:
        """Tell whether a route is among the result's; a result without routes says nothing of them."""
        return not self.routes or any(route["dst"] == destination for route in self.routes)

    @property
    def has_default_route(self) -> bool:
        """Tell whether an earlier plugin made an IPv4 default route."""
        return any(route["dst"] == DEFAULT_ROUTE for route in self.routes)


def previous_result(request: CniRequest) -> PreviousResult | None:
    """Return the `prevResult` of a request, None where it has none; raise RequestError where it is malformed."""
    raw = request.config.get("prevResult")
    if raw is None:
        return None
    try:
        result = msgspec.convert(raw, _Result)
    except msgspec.ValidationError as error:
        raise _malformed(*path_and_reason(error)) from None
    _check(result)
    return PreviousResult(
        interfaces=tuple(raw.get("interfaces") or ()),
        ips=tuple(raw.get("ips") or ()),
        routes=tuple(raw.get("routes") or ()),
        dns=raw.get("dns") or {},
    )


def _malformed(path: str, reason: str) -> RequestError:
    return RequestError(f"prevResult{path}: {reason}", code=ErrorCode.INVALID_CONFIG)


def _check(result: _Result) -> None:
    """Refuse values that would mean something else beside ours."""
    count = len(result.interfaces or ())
    for position, each in enumerate(result.ips or ()):
        if each.interface is not None and not 0 <= each.interface < count:
            raise _malformed(f".ips[{position}].interface", f"there is no interface {each.interface}")
        if not _is_cidr(each.address):
            raise _malformed(f".ips[{position}].address", f"{each.address[:80]!a} is no address")
    for position, route in enumerate(result.routes or ()):
        if not _is_cidr(route.dst):
            raise _malformed(f".routes[{position}].dst", f"{route.dst[:80]!a} is no network")


def _is_cidr(text: str) -> bool:
    try:
        ip_interface(text)
    except ValueError:
        return False
    return True


def add_result(pod: LocalPod, previous: PreviousResult | None, request: CniRequest) -> bytes:
    """Return the result of ADD: what was there before, the pod's interface, its address and routes."""
    before, version = previous or PreviousResult(), request.version
    interfaces = [*before.interfaces, *_interfaces(pod, request)]
    ours = {"address": f"{pod.address}/32", "gateway": pod.gateway, "interface": len(interfaces) - 1}
    return msgspec.json.encode(
        {
            "cniVersion": version,
            "interfaces": interfaces,
            "ips": [_in_version(address, version) for address in (*before.ips, ours)],
            "routes": [*before.routes, *(_route(route, version) for route in pod.all_routes)],
            "dns": {**before.dns, **_dns(pod.dns)},
        }
    )


def _interfaces(pod: LocalPod, request: CniRequest) -> list[dict[str, Any]]:
    """Return the host's end, which chained plugins look for, where there is one; the pod's end is the last."""
    interface: dict[str, Any] = {"name": pod.interface, "mac": pod.mac, "sandbox": request.netns}
    if request.version == "1.1.0":
        interface["mtu"] = pod.mtu
    if pod.wiring == "afpacket":
        return [{"name": names.host_link(pod.container_id, pod.interface)}, interface]
    return [interface]


def _in_version(address: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return an address with or without the field that was dropped in 1.0.0."""
    result = {name: value for name, value in address.items() if name != "version"}
    if version.startswith("0."):
        result["version"] = "6" if ":" in address["address"] else "4"
    return result


def _route(route: PodRoute, version: str) -> dict[str, Any]:
    result: dict[str, Any] = {"dst": route.destination, "gw": route.gateway}
    if version == "1.1.0" and route.metric:
        result["priority"] = route.metric
    return result


def _dns(dns: Dns) -> dict[str, Any]:
    values = {"nameservers": dns.nameservers, "domain": dns.domain, "search": dns.search, "options": dns.options}
    return {name: value for name, value in values.items() if value}


def error_result(error: RequestError, version: str) -> bytes:
    """Return the error object."""
    result: dict[str, Any] = {"cniVersion": version, "code": error.code, "msg": str(error)}
    if error.details:
        result["details"] = error.details
    return msgspec.json.encode(result)
