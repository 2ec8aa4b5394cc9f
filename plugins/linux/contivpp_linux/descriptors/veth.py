# SPDX-License-Identifier: Apache-2.0
"""Pairs of veth links.

Each end is made in its own namespace, at once under its name but for one thing: the first end has a provisional name
until it carries its mark (`contivpp_linux.marks`), because the kernel takes no alias in the message that makes a link.
So at every moment a pair of ours is known for what it is, and no link of somebody else is ever marked.

When one end's namespace is gone the kernel removes the pair, but a namespace that is only unbound from its path may
live on: a deletion that cannot reach the first end tries the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from contivpp_core.items import Found, Known
from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, check_mac, read_all
from contivpp_linux.edge import or_gone
from contivpp_linux.errors import ForeignObject, NamespaceVanished, StillThere
from contivpp_linux.items import Veth, link_key
from contivpp_linux.kernel.errors import KernelError, NamespaceGone, NotANamespace
from contivpp_linux.kernel.operations import CreateVeth, DeleteLink, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Link
from contivpp_linux.marks import Mark, is_provisional, namespace_of, provisional_name
from contivpp_linux.settled import split_alias

__all__ = ["VethDescriptor"]


class _Pair(NamedTuple):
    """Both ends as found, by the mark that each carries."""

    first: Link | None
    peer: Link | None
    mark: Mark


class VethDescriptor(LinuxDescriptor[Veth]):
    """Makes, marks and removes veth pairs."""

    kind: ClassVar[str] = Veth.kind
    item = Veth
    dumps_after: ClassVar[tuple[str, ...]] = ()

    def provides(self, item: Veth) -> Iterable[str]:
        """Both links."""
        return (link_key(item.namespace, item.name), link_key(item.peer_namespace, item.peer_name))

    def equal(self, wanted: Veth, found: Veth) -> bool:
        """Without a MAC, the kernel's choice is as wanted; namespaces are compared by identity."""
        return (
            not self.recreates(wanted, found)
            and Mark.of(wanted, "a") == Mark.of(found, "a")
            and (wanted.initial_mac or wanted.mac in ("", found.mac))
            and wanted.peer_mac in ("", found.peer_mac)
        )

    def recreates(self, old: Veth, new: Veth) -> bool:
        """MACs and alias are set in place."""
        return not Mark.of(old, "a").same_pair(Mark.of(new, "a"))

    # --- making

    async def create(self, item: Veth, handles: Mapping[str, Any]) -> None:
        """Make the pair, or take over the one that is there if it is this very one."""
        for mac in filter(None, (item.mac, item.peer_mac)):
            check_mac(mac)
        error = await self._make(item)
        if error is not None and error.exists and await self._take_over(item):
            return
        if error is not None and error.exists:
            error = await self._make(item)  # a half-made one was in the way
        if isinstance(error, NamespaceGone | NotANamespace):
            raise NamespaceVanished(item.peer_namespace, str(error))
        if error is not None:
            raise error
        if item.peer_namespace != item.namespace:
            await self._mark_peer(item)

    async def _make(self, item: Veth) -> KernelError | None:
        provisional = provisional_name(item)
        peer_namespace = reference(item.peer_namespace)
        create = CreateVeth(provisional, item.peer_name, peer_namespace, item.mac, item.peer_mac)
        mark = SetLink(link=provisional, name=item.name, alias=Mark.of(item, "a").alias)
        peer = SetLink(link=item.peer_name, alias=Mark.of(item, "b").alias)
        made, marked = await self._edge.apply(item.namespace, create, mark, phase=Phase.CREATE)
        if made is not None:
            return made
        if marked is not None:
            # The name is somebody's: it cannot be ours, or the scheduler would know it.
            raise_errors(await self._edge.apply(item.namespace, DeleteLink(provisional), phase=Phase.DELETE))
            return marked
        if item.peer_namespace == item.namespace:
            await self._set(item.namespace, peer, phase=Phase.SETTING)
        return None

    async def _mark_peer(self, item: Veth) -> None:
        mark = SetLink(link=item.peer_name, alias=Mark.of(item, "b").alias)
        await self._set(item.peer_namespace, mark, phase=Phase.SETTING)

    async def _take_over(self, item: Veth) -> bool:
        """Look at what has the names. True: it is this pair; False: a half-made one was removed.

        Raises ForeignObject or StillThere when it is something else.
        """
        first, half = await self._link(item.namespace, item.name), await self._half_made(item)
        peer = await self._link(item.peer_namespace, item.peer_name)
        mark = Mark.of(item, "a")
        there = Mark.parse(first.alias) if first is not None else None
        if first is not None and there is not None and there.same_pair(mark) and there.end == "a":
            if peer is not None and peer.index == first.peer_index:
                await self.update(item, item, None, {})
                return True
            await self._unset(item.namespace, DeleteLink(item.name))  # its other end was renamed or moved
            return False
        if half:
            await self._unset(item.namespace, DeleteLink(provisional_name(item)))
            return False
        self._refuse(item.namespace, first)
        self._refuse(item.peer_namespace, peer)
        return False

    def _refuse(self, namespace: Namespace, link: Link | None) -> None:
        if link is None:
            return
        if Mark.parse(link.alias) is not None:
            raise StillThere(f"link {link.name} in {_where(namespace)} is a veth of ours from earlier")
        raise ForeignObject(f"link {link.name} in {_where(namespace)} is not of this agent; it is left alone")

    async def _half_made(self, item: Veth) -> bool:
        return await self._link(item.namespace, provisional_name(item)) is not None

    async def _link(self, namespace: Namespace, name: str) -> Link | None:
        links = await or_gone(self._edge.kernel.links(reference(namespace)), [])
        return next((link for link in links if link.name == name), None)

    async def update(self, old: Veth, new: Veth, handle: Any, handles: Mapping[str, Any]) -> None:
        """Set MACs and marks of both ends; what the first end's alias says beside the mark stays."""
        for each in filter(None, (new.mac, new.peer_mac)):
            check_mac(each)
        there = await self._link(new.namespace, new.name)
        note = split_alias(there.alias)[1] if there is not None else ""
        mac = None if new.initial_mac or not new.mac else new.mac
        first = SetLink(link=new.name, mac=mac, alias=f"{Mark.of(new, 'a').alias} {note}".rstrip())
        peer = SetLink(link=new.peer_name, mac=new.peer_mac or None, alias=Mark.of(new, "b").alias)
        await self._set(new.namespace, first, phase=Phase.SETTING)
        await self._set(new.peer_namespace, peer, phase=Phase.SETTING)

    # --- removing

    async def delete(self, item: Veth | None, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove the pair by the first end, or else by the other; `handle` names a half-made one in the host."""
        if item is None:
            await self._unset(HOST, DeleteLink(handle))
            return
        try:
            (error,) = await self._edge.apply(item.namespace, DeleteLink(item.name), phase=Phase.DELETE)
        except NamespaceVanished:
            pass
        else:
            if error is None:
                return
            if not error.absent:
                raise error
        await self._delete_by_peer(item)

    async def _delete_by_peer(self, item: Veth) -> None:
        mark = Mark.of(item, "b")
        for link in await or_gone(self._edge.kernel.links(reference(item.peer_namespace)), []):
            there = Mark.parse(link.alias)
            if there is None or there.end != "b":
                continue
            # Where one end was not seen, the item tells no name of the other (`_found`).
            if there.same_pair(mark) or (not item.peer_name and there.key == item.key):
                await self._unset(item.peer_namespace, DeleteLink(link.name))

    # --- finding

    async def dump(self, known: Known) -> list[Found]:
        """Find pairs by the marks of their ends, in the host's namespace and in those of wanted pairs."""
        wanted = self._wanted(known)
        namespaces = {HOST}
        for item in wanted.values():
            namespaces |= {item.namespace, item.peer_namespace}
        links = await read_all(namespaces, self._edge.listings(known).links)
        pairs: dict[str, _Pair] = {}
        found: list[Found] = []
        for namespace, link in links:
            mark = Mark.parse(link.alias)
            if mark is not None:
                pair = pairs.get(mark.key, _Pair(None, None, mark))
                pairs[mark.key] = pair._replace(first=link) if mark.end == "a" else pair._replace(peer=link)
            elif namespace == HOST and is_provisional(link.name):
                found.append(Found(f"{self.kind}/host/{link.name}", None, link.name))
        read = {str(namespace) for namespace, _ in links}  # in each that can be seen there is lo, at least
        for key, pair in pairs.items():
            item = _found(pair, wanted.get(key), read)
            found.append(Found(key, item))
        return found


def _found(pair: _Pair, wanted: Veth | None, read: set[str]) -> Veth:
    """Return the pair as an item. An end that should have been seen and was not makes it differ from any wanted one."""
    first, peer, mark = pair
    first_there = first.name == mark.name if first is not None else mark.namespace not in read
    peer_there = peer.name == mark.peer_name if peer is not None else mark.peer_namespace not in read
    ways = {str(each): each for each in ((wanted.namespace, wanted.peer_namespace) if wanted is not None else ())}
    namespace, peer_namespace = (ways.get(each) or namespace_of(each) for each in (mark.namespace, mark.peer_namespace))
    return Veth(
        namespace=namespace,
        name=mark.name,
        peer_namespace=peer_namespace,
        peer_name=mark.peer_name if first_there and peer_there else "",
        mac=first.mac if first is not None else "",
        peer_mac=peer.mac if peer is not None else "",
        alias=mark.label,
        initial_mac=wanted is not None and wanted.initial_mac,
    )


def _where(namespace: Namespace) -> str:
    return namespace.path or "the host's namespace"
