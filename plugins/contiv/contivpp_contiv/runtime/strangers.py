# SPDX-License-Identifier: Apache-2.0
"""What an operator should know of the runtime: that it does not answer, and sandboxes that have no attachment."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from contivpp_contiv.records import CONTAINER_RUNTIME, ContainerRuntime
from contivpp_core.faults import FAULT, Fault
from contivpp_core.items import Item
from contivpp_core.records import Record
from contivpp_core.renderers import View

__all__ = ["RuntimeRenderer", "within"]


class RuntimeRenderer:
    """ContainerRuntime -> faults."""

    name = "contiv-runtime"
    table = CONTAINER_RUNTIME.name
    reads: frozenset[str] = frozenset()
    produces: frozenset[str] = frozenset()
    derives = frozenset({FAULT.name})

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        """Return the faults."""
        runtime: ContainerRuntime = view.get(self.table, key)
        if runtime.fault:
            yield Fault(subject=f"container runtime {key}", reason=runtime.fault)
        for each in {each.id: each for each in runtime.strangers}.values():
            reason = f"has {each.address}, an address of this node's pods, in sandbox {each.id}, without an attachment"
            cure = "its address may be given to another pod: delete the pod, so that its controller makes it again"
            yield Fault(subject=f"pod {each.pod} sandbox {each.id[:13]}", reason=f"{reason}: {cure}")


def within(address: str, network: str) -> bool:
    """Tell whether an address is in a network; a text that is no address is in none."""
    try:
        return ip_address(address) in ip_network(network)
    except ValueError:
        return False
