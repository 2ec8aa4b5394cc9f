# SPDX-License-Identifier: Apache-2.0
"""The links between the namespaces of a sandbox: a program that makes them, from inside.

    python -m contivpp_sandbox.sandbox.wiring PID < REQUESTS

It enters the namespaces of the keeper (PID), in which the underlay is a bridge, and carries out requests: a list in
JSON, each an object whose `do` names one of the functions here. On stdout it says `{"done": true}` or `{"error": …}`.
Links go with the namespace that an end of them is in, so nothing here is ever removed by hand.

A separate program, because a process that has once entered a user namespace cannot go back, and because pyroute2
takes a tenth of a second to load.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contivpp_linux.kernel import offloads
from contivpp_linux.kernel.values import Offload
from contivpp_sandbox.rigs.layout import MANAGEMENT_LINK, SERVERS_ADDRESS, UPLINK
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.namespaces import POD, enter, enter_network

__all__ = ["BRIDGE", "main", "port_name"]

BRIDGE = "underlay"
HOST_LINK = "eth0"

_OFFLOADS = (Offload.TX_CHECKSUM, Offload.SCATTER_GATHER, Offload.TSO, Offload.GSO, Offload.GRO)
_ROOT = 0xFFFFFFFF  # TC_H_ROOT


def port_name(position: int) -> str:
    """Return the bridge's port for a node."""
    return f"node{position}"


def _management_port(position: int) -> str:
    return f"mgmt{position}"


class Wiring:
    """Carries out requests; `netlink` is in the underlay's namespace."""

    def __init__(self) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415

        self._open = IPRoute
        self._underlay = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.netlink: Any = IPRoute()

    # --- requests

    def do_bridge(self, *, mtu: int) -> None:
        """Make the underlay. It forwards at once, and asks nobody who listens to which group."""
        self.netlink.link("add", ifname=BRIDGE, kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
        _quiet(BRIDGE)
        self.netlink.link("set", index=self._index(BRIDGE), mtu=mtu, state="up")

    def do_servers(self) -> None:
        """Give the underlay's namespace the address of servers, which nodes reach, and no way from node to node."""
        for setting in ("ip_forward", "conf/all/proxy_arp", "conf/default/proxy_arp"):
            Path(f"/proc/sys/net/ipv4/{setting}").write_text("0", "ascii")
        self.netlink.addr("add", index=self._index("lo"), address=SERVERS_ADDRESS, prefixlen=32)

    def do_node(self, *, position: int, pid: int, mtu: int, management: str) -> None:
        """Connect a node's namespace, that of process `pid`: to the underlay, and to a management network."""
        port, far, silent = port_name(position), f"far{position}", _management_port(position)
        self._veth(port, far, mtu=mtu, pid=pid, name=UPLINK)
        self._plug(port)
        # The far end of the management link is the servers', or nobody's: other nodes' hosts are not reached that way.
        self._veth(silent, far, mtu=1500, pid=pid, name=MANAGEMENT_LINK)
        _quiet(silent)
        address, _, length = management.partition("/")
        self._reach(position, address)
        with self._inside(pid) as netlink:
            _quiet(UPLINK)
            for link in (UPLINK, MANAGEMENT_LINK):
                netlink.link("set", index=_index(netlink, link), state="up")
            netlink.addr("add", index=_index(netlink, MANAGEMENT_LINK), address=address, prefixlen=int(length))

    def do_host(self, *, port: str, pid: int, mtu: int, address: str) -> None:
        """Connect the namespace of an outside host, whose address has a prefix length."""
        self._veth(port, f"far-{port}", mtu=mtu, pid=pid, name=HOST_LINK)
        self._plug(port)
        with self._inside(pid) as netlink:
            index = _index(netlink, HOST_LINK)
            _quiet(HOST_LINK)
            netlink.link("set", index=index, state="up")
            plain, _, length = address.partition("/")
            netlink.addr("add", index=index, address=plain, prefixlen=int(length))

    def do_gateway(self, *, pid: int, gateway: str) -> None:
        """Set the way of an outside host to what is not on its link; the gateway is on it, whatever its address."""
        with self._inside(pid) as netlink:
            index = _index(netlink, HOST_LINK)
            netlink.route("replace", dst="0.0.0.0/0", gateway=gateway, oif=index, flags=["onlink"])

    def do_cut(self, *, positions: Sequence[int]) -> None:
        """Cut nodes off the underlay: their ports of the bridge go down."""
        for position in positions:
            self.netlink.link("set", index=self._index(port_name(position)), state="down")

    def do_lose(self, *, positions: Sequence[int], percent: float) -> None:
        """Lose a share of the packets to nodes and from them."""
        for position in positions:
            port = self._index(port_name(position))
            self._netem(self.netlink, port, percent)

    def do_part(self, *, positions: Sequence[int]) -> None:
        """Cut nodes off the servers: what is on its way is lost, and nobody is told."""
        for position in positions:
            self.netlink.link("set", index=self._index(_management_port(position)), state="down")

    def do_reunite(self, *, nodes: Mapping[str, str]) -> None:
        """Undo `part` for nodes, management addresses by positions."""
        for position, address in nodes.items():
            self._reach(int(position), address)

    def do_heal(self, *, positions: Sequence[int]) -> None:
        """Undo `cut` and `lose`."""
        for position in positions:
            index = self._index(port_name(position))
            with contextlib.suppress(self._errors()):  # none is there
                self.netlink.tc("del", index=index, parent=_ROOT)
            self.netlink.link("set", index=index, state="up")

    # --- parts

    def _reach(self, position: int, address: str) -> None:
        """Let servers, where there are some, reach a node by its management link; a link that goes down forgets it."""
        index = self._index(_management_port(position))
        self.netlink.link("set", index=index, state="up")
        if self.netlink.get_addr(index=self._index("lo"), address=SERVERS_ADDRESS):
            of_the_link = 253
            self.netlink.route("replace", dst=f"{address}/32", oif=index, prefsrc=SERVERS_ADDRESS, scope=of_the_link)

    def _netem(self, netlink: Any, index: int, percent: float) -> None:
        try:
            netlink.tc("replace", "netem", index, handle="1:", loss=percent)
        except self._errors() as error:
            raise SandboxError(
                f"this kernel loses no packets at will ({error.args[-1]}): it lacks sch_netem; "
                "break without --loss cuts a node off"
            ) from error

    def _errors(self) -> type[Exception]:
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        error: type[Exception] = NetlinkError
        return error

    def _veth(self, near: str, far: str, *, mtu: int, pid: int, name: str) -> None:
        """Make a pair whose far end is in another namespace, as `name`. What leaves an end is complete packets.

        The kernel takes its time to remove a namespace, and the links of a node that has just left with it.

        VPP reads what comes in as it is: a checksum that is left to hardware, or a packet that a card would cut, would
        be wrong there.
        """
        for index in self.netlink.link_lookup(ifname=near):
            self.netlink.link("del", index=index)
        self.netlink.link("add", ifname=near, kind="veth", mtu=mtu, peer={"ifname": far, "mtu": mtu})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
            for end in (near, far):
                for offload in _OFFLOADS:
                    offloads.write(device, end, offload, on=False)
        self.netlink.link("set", index=self._index(far), net_ns_pid=pid, ifname=name)

    def _plug(self, port: str) -> None:
        _quiet(port)
        self.netlink.link("set", index=self._index(port), master=self._index(BRIDGE), state="up")

    def _index(self, link: str) -> int:
        return _index(self.netlink, link)

    @contextlib.contextmanager
    def _inside(self, pid: int) -> Iterator[Any]:
        """Yield a netlink socket of a process's network namespace, in which this process is meanwhile."""
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter_network(namespace)
            with self._open() as netlink:
                yield netlink
        finally:
            enter_network(self._underlay)
            os.close(namespace)


def _index(netlink: Any, link: str) -> int:
    found = netlink.link_lookup(ifname=link)
    if not found:
        raise SandboxError(f"there is no link {link}: its node is gone")
    return int(found[0])


def _quiet(link: str) -> None:
    """Switch IPv6 off on a link, so that the kernel sends nothing there by itself."""
    with contextlib.suppress(OSError):  # a kernel without IPv6
        Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("1", "ascii")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out what stdin says."""
    (pid,) = arguments if arguments is not None else sys.argv[1:]
    requests: list[Mapping[str, Any]] = json.load(sys.stdin)
    answer: dict[str, Any] = {"done": True}
    try:
        enter(int(pid), POD)
        wiring = Wiring()
        for request in requests:
            handler: Callable[..., None] = getattr(wiring, f"do_{request['do']}")
            handler(**{key: value for key, value in request.items() if key != "do"})
    except SandboxError as error:
        answer = {"error": str(error)}
    except Exception as error:  # pyroute2's errors have several bases
        answer = {"error": f"{request.get('do') if 'request' in locals() else 'start'}: {error}"}
    print(json.dumps(answer))
    return 0 if "done" in answer else 1


if __name__ == "__main__":
    sys.exit(main())
