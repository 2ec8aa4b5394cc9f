# SPDX-License-Identifier: Apache-2.0
"""A kernel in memory: no privileges, no threads, no time.

It keeps the same contract as the real one, error numbers of misuse included (the tests of both are the
same). Whoever builds a rig makes and destroys namespaces, and plugs links into them whose other end is a
callback.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .errors import KernelError, NamespaceError, NamespaceGone
from .memory_links import Frames, MemoryLink, MemoryNamespace, check_mac, check_mtu, check_name
from .operations import (
    Add,
    CreateVeth,
    Delete,
    DeleteLink,
    Follow,
    MoveLink,
    Operation,
    Replace,
    SetLink,
    SetOffloads,
    SetSysctl,
    sysctl_path,
    where,
)
from .values import (
    OWN_PROTOCOL,
    Address,
    FollowedEvent,
    Link,
    LinkChanged,
    LinkEvent,
    LinkGone,
    Namespace,
    Neighbour,
    NetworkNamespace,
    Offload,
    Route,
    RouteGone,
)

__all__ = ["MemoryKernel"]

_DEVICE = 4
_FIRST_INODE = 4026532000


class MemoryKernel:
    """Namespaces by path; the agent's own is ""."""

    def __init__(self) -> None:
        self._namespaces: dict[str, MemoryNamespace] = {}
        self._next_inode = _FIRST_INODE
        self._next_mac = 1
        self._watchers: dict[object, Callable[[LinkEvent], None]] = {}
        self._network_watchers: dict[object, Callable[[], None]] = {}
        self._followers: dict[object, Callable[[FollowedEvent], None]] = {}
        self.create_namespace("")

    # For the rig

    def create_namespace(self, path: str) -> NetworkNamespace:
        """Make a namespace; another one at an old path has another identity."""
        if path in self._namespaces:
            raise FileExistsError(errno.EEXIST, "a namespace is at this path", path)
        identity = NetworkNamespace(path, _DEVICE, self._next_inode)
        self._next_inode += 1
        self._namespaces[path] = MemoryNamespace(identity)
        return identity

    def destroy_namespace(self, path: str) -> None:
        """Destroy a namespace and its links; the other ends of its veths go with them."""
        namespace = self._find(path)
        for link in list(namespace.links.values()):
            self._remove(link)
        del self._namespaces[path]

    def plug(self, namespace: str, name: str, mac: str, mtu: int, transmit: Frames) -> MemoryLink:
        """Make a link in a namespace from outside, as VPP does a TAP: its frames go to `transmit`."""
        check_name(name)
        link = MemoryLink(self._find(namespace), 0, name, "tun", mac, mtu, outside=transmit)
        self._find(namespace).insert(link)
        self._tell(link)
        return link

    def unplug(self, link: MemoryLink) -> None:
        """Take a plugged link away; nothing happens if it is gone."""
        if link.namespace.links.get(link.name) is link:
            self._remove(link)

    def link(self, namespace: Namespace, name: str) -> MemoryLink:
        """Return a link, to send frames out of it or to listen at it."""
        try:
            return self._find(namespace).find(name)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, f"find link {name}", where(namespace)) from None

    # The contract

    async def identify(self, namespace: Namespace) -> NetworkNamespace:
        """Return which namespace is at this path now."""
        path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace
        self._find(namespace)
        return self._find(path).identity

    async def apply(self, namespace: Namespace, operations: Sequence[Operation]) -> list[KernelError | None]:
        """Run the operations in order."""
        inside = self._find(namespace)
        results: list[KernelError | None] = []
        for operation in tuple(operations):
            try:
                self._run(inside, operation)
            except NamespaceError as error:
                results.append(error)
            except OSError as error:
                number, detail = error.args
                results.append(KernelError(number, str(operation), where(namespace), detail=detail))
            except ValueError as error:
                detail = f"cannot be encoded: {error}"
                results.append(KernelError(errno.EINVAL, str(operation), where(namespace), detail=detail))
            else:
                results.append(None)
        self._tell_network(inside)
        return results

    async def links(self, namespace: Namespace) -> list[Link]:
        """List all links, by index."""
        found = (link.value() for link in self._find(namespace).links.values())
        return sorted(found, key=lambda link: link.index)

    async def addresses(self, namespace: Namespace) -> list[Address]:
        """List all addresses of all links."""
        return list(self._find(namespace).stack.addresses)

    async def routes(self, namespace: Namespace) -> list[Route]:
        """List all routes in all tables."""
        return list(self._find(namespace).stack.routes)

    async def neighbours(self, namespace: Namespace) -> list[Neighbour]:
        """List permanent neighbours."""
        return list(self._find(namespace).stack.neighbours)

    async def read_sysctls(self, namespace: Namespace, names: Sequence[str]) -> list[str | KernelError]:
        """Return each sysctl's value, or why it cannot be read."""
        sysctls = self._find(namespace).sysctls
        found: list[str | KernelError] = []
        for name in names:
            path = sysctl_path(name)
            number = errno.EINVAL if path is None else errno.ENOENT
            error = KernelError(number, f"read sysctl {name}", where(namespace))
            found.append(sysctls.get(path or "", error))
        return found

    async def link_sysctls(self, namespace: Namespace, link: str) -> Mapping[str, str]:
        """Return the sysctls of a link that have another value than new links get there, by path."""
        return self._find(namespace).link_sysctls(link)

    async def offloads(self, namespace: Namespace, link: str) -> Mapping[Offload, bool]:
        """Return which offloads of a link are on."""
        found = self._find(namespace).links.get(link)
        if found is None:
            raise KernelError(errno.ENODEV, f"read offloads of {link}", where(namespace))
        return found.offloads()

    def watch_links(self, callback: Callable[[LinkEvent], None]) -> Callable[[], None]:
        """Call back, soon after, for every change of a link in the agent's own namespace."""
        loop = asyncio.get_running_loop()
        key = object()

        def deliver(event: LinkEvent) -> None:
            if key in self._watchers:
                callback(event)

        def soon(event: LinkEvent) -> None:
            loop.call_soon(deliver, event)

        self._watchers[key] = soon

        def stop() -> None:
            self._watchers.pop(key, None)

        return stop

    def watch_network(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, soon after, when links, addresses or routes of the agent's own namespace may have changed."""
        loop = asyncio.get_running_loop()
        key = object()
        due = False

        def deliver() -> None:
            nonlocal due
            due = False
            if key in self._network_watchers:
                callback()

        def soon() -> None:
            nonlocal due
            if not due:
                due = True
                loop.call_soon(deliver)

        self._network_watchers[key] = soon

        def stop() -> None:
            self._network_watchers.pop(key, None)

        return stop

    def watch_followed(self, callback: Callable[[FollowedEvent], None]) -> Callable[[], None]:
        """Call back, soon after, for changes in the namespaces that are followed."""
        loop = asyncio.get_running_loop()
        key = object()

        def deliver(event: FollowedEvent) -> None:
            if key in self._followers:
                callback(event)

        def soon(event: FollowedEvent) -> None:
            loop.call_soon(deliver, event)

        self._followers[key] = soon

        def stop() -> None:
            self._followers.pop(key, None)

        return stop

    async def close(self) -> None:
        """Forget who watches."""
        self._followers.clear()
        self._watchers.clear()
        self._network_watchers.clear()

    # Operations

    def _run(self, namespace: MemoryNamespace, operation: Operation) -> None:
        match operation:
            case CreateVeth():
                self._create_veth(namespace, operation)
            case DeleteLink(link=name):
                link = namespace.find(name)
                if name == "lo":
                    raise OSError(errno.EOPNOTSUPP, "")
                self._remove(link)
            case MoveLink(link=name, namespace=target, name=new_name):
                self._move(namespace.find(name), self._find(target), new_name)
            case SetLink(link=name):
                self._set_link(namespace.find(name), operation)
            case Add() | Replace() | Delete():
                self._facet(namespace, operation)
            case SetSysctl(name=name, value=text):
                path = sysctl_path(name)
                if path is None:
                    raise OSError(errno.EINVAL, "")
                namespace.write_sysctl(path, text)
            case SetOffloads(link=name, offloads=wanted):
                if name not in namespace.links:
                    raise OSError(errno.ENODEV, "")
                namespace.links[name].wanted_offloads.update(wanted)
            case Follow():
                namespace.followed = True

    def _facet(self, namespace: MemoryNamespace, operation: Add | Replace | Delete) -> None:
        if operation.value.link is not None:
            namespace.find(operation.value.link)
        if isinstance(operation, Delete):
            namespace.stack.delete(operation.value)
            if isinstance(operation.value, Route) and operation.value.protocol == OWN_PROTOCOL:
                self._tell_followers(namespace, RouteGone(namespace.identity))
        else:
            namespace.stack.add(operation.value, overwrite=isinstance(operation, Replace))

    def _create_veth(self, namespace: MemoryNamespace, operation: CreateVeth) -> None:
        other = namespace if operation.peer_namespace is None else self._find(operation.peer_namespace)
        same = other is namespace and operation.name == operation.peer_name
        for name in (operation.name, operation.peer_name):
            check_name(name)
        for mac in filter(None, (operation.mac, operation.peer_mac)):
            check_mac(mac)
        for mtu in filter(None, (operation.mtu, operation.peer_mtu)):
            check_mtu(mtu)
        if same or operation.name in namespace.links or operation.peer_name in other.links:
            raise OSError(errno.EEXIST, "")
        # The kernel makes the peer first.
        mac, mtu = operation.peer_mac or self._mac(), operation.peer_mtu or 1500
        peer = MemoryLink(other, 0, operation.peer_name, "veth", mac, mtu)
        other.insert(peer)
        mac, mtu = operation.mac or self._mac(), operation.mtu or 1500
        link = MemoryLink(namespace, 0, operation.name, "veth", mac, mtu, peer=peer)
        namespace.insert(link)
        peer.peer = link
        self._tell(peer)
        self._tell(link)

    def _remove(self, link: MemoryLink) -> None:
        for end in (link, link.peer):
            if end is not None:
                self._tell(end, gone=True)
                end.namespace.remove(end)

    def _move(self, link: MemoryLink, target: MemoryNamespace, name: str) -> None:
        source = link.namespace
        name = name or link.name
        if target is source:
            source.rename(link, name)
            self._tell(link)
            return
        if link.name == "lo":
            raise OSError(errno.EINVAL, "")
        check_name(name)
        if name in target.links:
            raise OSError(errno.EEXIST, "")
        self._tell(link, gone=True)
        source.remove(link)
        link.name = name
        target.insert(link)
        self._tell(link)

    def _set_link(self, link: MemoryLink, operation: SetLink) -> None:
        if operation.mac is not None:
            check_mac(operation.mac)
            if link.mac != operation.mac:
                link.namespace.stack.forget_neighbours(link.name)
            link.mac = operation.mac
        if operation.mtu is not None:
            check_mtu(operation.mtu)
            link.mtu = operation.mtu
        if operation.name is not None:
            link.namespace.rename(link, operation.name)
        if operation.alias is not None:
            link.alias = operation.alias
        if operation.up is not None:
            link.namespace.set_up(link, up=operation.up)
        self._tell(link)
        if link.peer is not None and operation.up is not None:
            self._tell(link.peer)

    def _find(self, namespace: Namespace) -> MemoryNamespace:
        path = namespace.path if isinstance(namespace, NetworkNamespace) else namespace or ""
        found = self._namespaces.get(path)
        if found is None:
            raise NamespaceGone(errno.ENOENT, "open network namespace", path)
        if isinstance(namespace, NetworkNamespace) and namespace != found.identity:
            raise NamespaceGone(
                errno.ENOENT, "open network namespace (another one is at this path now)", path
            )
        return found

    def _mac(self) -> str:
        self._next_mac += 1
        return "02:fe:" + ":".join(f"{byte:02x}" for byte in self._next_mac.to_bytes(4, "big"))

    def _tell_followers(self, namespace: MemoryNamespace, event: FollowedEvent) -> None:
        if namespace.followed:
            for follower in list(self._followers.values()):
                follower(event)

    def _tell(self, link: MemoryLink, *, gone: bool = False) -> None:
        self._tell_followers(link.namespace, link.seen(gone=gone))
        if link.namespace is not self._namespaces.get(""):
            return
        value = link.value()
        event = LinkGone(replace(value, up=False)) if gone else LinkChanged(value)
        for watcher in list(self._watchers.values()):
            watcher(event)
        self._tell_network(link.namespace)

    def _tell_network(self, namespace: MemoryNamespace) -> None:
        if namespace is self._namespaces.get(""):
            for watcher in list(self._network_watchers.values()):
                watcher()
