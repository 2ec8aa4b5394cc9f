# SPDX-License-Identifier: Apache-2.0
"""CHECK: compares an attachment with what is there, and with the result of its ADD.

What VPP and the kernel lost is set up again where that is possible; what is then still missing is told. Plugins later
in the chain may have changed what ADD set, and say so in `prevResult` (CNI specification, "CHECK"): the kernel's link
is compared with that, and a route counts wherever it is now.
"""

from __future__ import annotations

import asyncio

from contivpp_contiv.altered import lost_of
from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.result import PreviousResult
from contivpp_contiv.pods import pod_items
from contivpp_contiv.records import LocalPod
from contivpp_core.agent import Agent
from contivpp_core.errors import RequestError
from contivpp_linux.batcher import reference
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.protocol import Kernel

__all__ = ["compare"]

CONVERGENCE_SECONDS = 2.0
CURE = "the container must be made again to have everything as ADD set it up"


async def compare(
    agent: Agent, kernel: Kernel, pod: LocalPod, previous: PreviousResult | None, *, sandbox: str
) -> None:
    """Return if all is as it should be; raise RequestError that says what is not. `sandbox` is CNI_NETNS."""
    if previous is not None:
        _compare_address(pod, previous)
    for kind in sorted({item.kind for item in pod_items(pod)}):
        await agent.scheduler.check(kind)
    try:
        await agent.scheduler.waiters.until_applied([item.key for item in pod_items(pod)], CONVERGENCE_SECONDS)
    except RequestError as error:  # not a matter of trying again: what is there differs, and cannot be set right
        raise RequestError(f"{pod.key} cannot be repaired: {error}", code=ErrorCode.DIFFERS, details=CURE) from error
    try:
        faults = await _differences(pod, previous or PreviousResult(), kernel, sandbox)
    except KernelError as error:
        raise RequestError(f"{pod.key} cannot be read: {error}", code=ErrorCode.DIFFERS) from error
    if lost := lost_of(agent.state, pod.key):
        faults.append(lost)
    if faults:
        raise RequestError(
            f"{pod.key}: {'; '.join(faults)}",
            code=ErrorCode.DIFFERS,
            details=CURE,
        )


def _compare_address(pod: LocalPod, previous: PreviousResult) -> None:
    """Refuse a previous result that tells of another attachment (others of a chain may have added addresses)."""
    if not any(each["address"] == f"{pod.address}/32" for each in previous.ips):
        raise RequestError(
            f"{pod.key} has address {pod.address}, which is not among those of prevResult", code=ErrorCode.DIFFERS
        )


async def _differences(pod: LocalPod, previous: PreviousResult, kernel: Kernel, sandbox: str) -> list[str]:
    """Return what the pod's end lacks."""
    where = reference(pod.netns)
    links, addresses, routes = await asyncio.gather(
        kernel.links(where), kernel.addresses(where), kernel.routes(where)
    )
    link = next((link for link in links if link.name == pod.interface), None)
    if link is None:
        return [f"the container has no {pod.interface} any more"]
    listed = previous.interface(pod.interface, sandbox) or {}
    faults = [] if link.up else [f"{link.name} is down"]
    for name, value in (("mac", link.mac), ("mtu", link.mtu)):
        if listed.get(name, value) != value:
            faults.append(f"{link.name} has {name} {value}, and prevResult says {listed[name]}")
    address = f"{pod.address}/32"
    if not any(each.link == link.name and str(each.address) == address for each in addresses):
        faults.append(f"{link.name} has lost its address {address}")
    there = {str(route.destination) for route in routes if route.link == link.name}
    wanted = [route.destination for route in pod.all_routes if previous.promises(route.destination)]
    return faults + [f"{link.name} has lost its route to {each}" for each in wanted if each not in there]
