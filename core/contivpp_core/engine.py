# SPDX-License-Identifier: Apache-2.0
"""The renderer engine: keeps the output of all renderers up to date with the state.

Every read goes through a view, which records it; when the state changes, only those renderers run again whose reads
give another result. The rule is "red and green": a change marks every reader, near and far, as in doubt; a reader in
doubt first brings what it read up to date, and runs only if one of these really changed. So a memoised function
(`view.call`) that gives an equal result stops a change from spreading.

The engine has no I/O and no clock. `run` yields between renderings so that its caller can give way to others.
The scheduler takes what comes out: for each item key, its owners and their values.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from contivpp_core.engine_view import RecordingView, RenderNode
from contivpp_core.errors import RendererError
from contivpp_core.items import Item, Owner
from contivpp_core.records import Record
from contivpp_core.renderers import Renderer
from contivpp_core.state import Change, State

__all__ = ["Engine"]

log = logging.getLogger(__name__)


_NOTHING: tuple[dict[str, Item], dict[tuple[str, str], Record]] = ({}, {})


class Engine:
    """Keeps the output of all renderers up to date with the state."""

    def __init__(self, state: State, renderers: Iterable[Renderer]) -> None:
        self.state = state
        self.renderers: dict[str, Renderer] = {}
        for renderer in renderers:
            if renderer.name in self.renderers:
                raise RendererError(f"two renderers are named {renderer.name}: rename one of them")
            self.renderers[renderer.name] = renderer
        self._layers = self._order()
        self._nodes: dict[tuple[Any, ...], RenderNode] = {}
        self._evaluators: dict[str, Callable[[RenderNode], Any]] = {
            "render": self._rerender,
            "get": self._get,
            "where": self._where,
            "select": self._select,
            "ready": self._ready,
            "call": self._call,
        }
        self._allowed = {name: each.reads | {each.table} for name, each in self.renderers.items()}
        self._derives = {
            name: tuple(state.table(table).table for table in each.derives) for name, each in self.renderers.items()
        }
        self._selects: dict[str, dict[tuple[str, str] | None, set[RenderNode]]] = defaultdict(lambda: defaultdict(set))
        self._todo: dict[str, dict[str, None]] = {name: {} for name in self.renderers}
        self._renders: dict[Owner, RenderNode] = {}
        self._output: dict[Owner, tuple[dict[str, Item], dict[tuple[str, str], Record]]] = {}
        self._derived: dict[tuple[str, str], dict[Owner, Record]] = defaultdict(dict)
        self.failures: dict[Owner, str] = {}
        self.owners: dict[str, dict[Owner, Item]] = {}
        """Every item that is wanted: key -> owner -> value."""
        self._changed_keys: set[str] = set()
        self._tick = 0
        self._by_table: dict[str, list[str]] = defaultdict(list)
        for renderer in self.renderers.values():
            self._by_table[renderer.table].append(renderer.name)

    # --- declaration

    def _order(self) -> list[str]:
        """Order renderers so that each derived table is written before it is read; refuse cycles."""
        deriving: dict[str, set[str]] = defaultdict(set)
        for renderer in self.renderers.values():
            for table in renderer.derives:
                if table not in self.state or not self.state.table(table).table.derived:
                    raise RendererError(f"renderer {renderer.name} derives {table}, which is not a derived table")
                deriving[table].add(renderer.name)
        graph = {
            renderer.name: set().union(*(deriving[table] for table in renderer.reads | {renderer.table}))
            for renderer in self.renderers.values()
        }
        for renderer in self.renderers.values():
            for table in renderer.reads | {renderer.table}:
                self.state.table(table)
        try:
            return list(TopologicalSorter({name: sorted(graph[name]) for name in sorted(graph)}).static_order())
        except CycleError as error:
            raise RendererError(f"renderers derive from each other: {' -> '.join(error.args[1])}") from None

    # --- readiness and health, for the scheduler

    def complete(self, renderer: str) -> bool:
        """Tell whether every table that the renderer reads is ready."""
        declared = self.renderers[renderer]
        return all(self.table_ready(table) for table in declared.reads | {declared.table})

    def table_ready(self, table: str) -> bool:
        """Tell whether a table holds all that there is: a derived one, when all who derive it are complete."""
        rows = self.state.table(table)
        if not rows.table.derived:
            return rows.ready
        return all(self.complete(name) for name, other in self.renderers.items() if table in other.derives)

    def healthy(self, renderer: str) -> bool:
        """Tell whether every rendering of the renderer succeeded, and of those that derive what it reads."""
        if any(owner.renderer == renderer for owner in self.failures):
            return False
        declared = self.renderers[renderer]
        tables = declared.reads | {declared.table}
        return all(self.healthy(name) for name, other in self.renderers.items() if tables & other.derives)

    def descendants(self, table: str, key: str) -> set[Owner]:
        """Return every owner whose items come from a record, also through derived records."""
        owners: set[Owner] = set()
        pending = [(table, key)]
        while pending:
            table, key = pending.pop()
            for name in self._by_table[table]:
                owner = Owner(name, key)
                if owner in self._output and owner not in owners:
                    owners.add(owner)
                    pending.extend(self._output[owner][1])
        return owners

    # --- nodes

    def node(self, identity: tuple[Any, ...]) -> RenderNode:
        """Return the node of a read, making it if it is new."""
        node = self._nodes.get(identity)
        if node is None:
            node = self._nodes[identity] = RenderNode(identity, self._evaluators[identity[0]])
            if identity[0] == "select":
                for pair in identity[3].pairs() or (None,):
                    self._selects[identity[1]][pair].add(node)
        return node

    def value(self, node: RenderNode) -> Any:
        """Bring a node up to date and return its value."""
        if node.running:
            raise RendererError(f"{_describe(node)} calls itself")
        if node.doubt or node.checked < 0:
            self._refresh(node)
        return node.value

    def _refresh(self, node: RenderNode) -> None:
        if node.reads and node.checked >= 0 and not self._stale(node):
            node.checked, node.doubt = self._tick, False
            return
        node.running = True
        try:
            value = node.evaluate(node)
        except BaseException:
            # Not in doubt, so that the next change reaches its readers; not checked, so that it is computed again.
            node.checked, node.doubt = -1, False
            raise
        finally:
            node.running = False
        if node.changed < 0 or value != node.value:
            node.value, node.changed = value, self._tick
        node.checked, node.doubt = self._tick, False

    def _stale(self, node: RenderNode) -> bool:
        for read in node.reads:
            self.value(read)
            if read.changed > node.checked:
                return True
        return False

    def _link(self, node: RenderNode, reads: Iterable[RenderNode]) -> None:
        new = tuple(reads)
        for read in new:
            if isinstance(read.readers, set):
                read.readers.add(node)
            else:
                read.readers = {node}
        gone = set(node.reads).difference(new) if node.reads and node.reads != new else ()
        node.reads = new
        for read in gone:
            assert isinstance(read.readers, set)
            read.readers.discard(node)
            self._drop_unread(read)

    def _drop_unread(self, node: RenderNode) -> None:
        """Forget a read that nobody needs any more, and what only it had read."""
        if node.readers or node.identity[0] == "render" or self._nodes.pop(node.identity, None) is None:
            return
        if node.identity[0] == "select":
            for pair in node.identity[3].pairs() or (None,):
                self._selects[node.identity[1]][pair].discard(node)
        self._link(node, ())

    def _get(self, node: RenderNode) -> Any:
        return self.state.get(node.identity[1], node.identity[2])

    def _where(self, node: RenderNode) -> Any:
        return self.state.table(node.identity[1]).where(node.identity[2], node.identity[3])

    def _select(self, node: RenderNode) -> Any:
        _, table, namespaces, selector, fields = node.identity
        return tuple(
            (key, *(getattr(record, name) for name in fields))
            for key, record in self.state.table(table).select(namespaces, selector)
        )

    def _ready(self, node: RenderNode) -> bool:
        return self.table_ready(node.identity[1])

    def _call(self, node: RenderNode) -> Any:
        _, function, arguments, allowed = node.identity
        view = RecordingView(self, allowed, getattr(function, "__name__", "function"))
        try:
            return function(view, *arguments)
        finally:
            self._link(node, view.reads)

    # --- changes

    def _mark(self, node: RenderNode) -> None:
        pending = [node]
        while pending:
            current = pending.pop()
            if current.identity[0] == "render":
                self._todo[current.identity[1]][current.identity[2]] = None
            if not current.doubt or current is node:
                current.doubt = True
                pending.extend(current.readers)

    def note(self, changes: Sequence[Change], flips: Sequence[str] = ()) -> None:
        """Take note of what changed in the state: what read it is in doubt, what it drives will be rendered.

        `flips` are tables that became ready, or no longer are; derived tables follow them.
        """
        self._tick += 1
        if flips:
            for node in [node for identity, node in self._nodes.items() if identity[0] == "ready"]:
                node.checked = -1
                self._mark(node)
        for change in changes:
            for name in self._by_table[change.table]:
                self._todo[name][change.key] = None
            for node in self._affected(change):
                # A leaf has no reads of its own to compare: being touched is what makes it stale.
                node.checked = -1
                self._mark(node)

    def _affected(self, change: Change) -> Iterator[RenderNode]:
        if node := self._nodes.get(("get", change.table, change.key)):
            yield node
        rows = self.state.table(change.table)
        for index, values in rows.table.indexes.items():
            touched = {v for record in (change.old, change.new) if record is not None for v in values(record)}
            for value in touched:
                if node := self._nodes.get(("where", change.table, index, value)):
                    yield node
        selects = self._selects.get(change.table)
        if not selects:
            return
        pairs: set[tuple[str, str] | None] = {None}
        for record in (change.old, change.new):
            if record is not None:
                pairs.update(rows.labels(record).items())
        for node in {node for pair in pairs for node in selects.get(pair, ())}:
            _, _, namespaces, selector, fields = node.identity
            old, new = (
                tuple(getattr(record, name) for name in fields)
                if record is not None and rows.matches(record, namespaces, selector)
                else None
                for record in (change.old, change.new)
            )
            if old != new:
                yield node

    def run(self) -> Iterator[None]:
        """Render what is due, layer by layer, yielding after each record. Afterwards `take` gives what changed."""
        for name in self._layers:
            todo = self._todo[name]
            while todo:
                key = next(iter(todo))
                del todo[key]
                self._render(Owner(name, key))
                yield

    def take(self) -> set[str]:
        """Return the keys whose owners or values changed since the last call."""
        changed, self._changed_keys = self._changed_keys, set()
        return changed

    def _render(self, owner: Owner) -> None:
        renderer = self.renderers[owner.renderer]
        node = self._renders.get(owner)
        if self.state.get(renderer.table, owner.record) is None:
            if node is not None:
                self._link(node, ())
                del self._renders[owner]
            self.failures.pop(owner, None)
            self._replace(owner, {}, {})
            return
        if node is None:
            node = self._renders[owner] = RenderNode(("render", *owner), self._evaluators["render"])
        try:
            self.value(node)
        except Exception as error:  # a renderer is foreign code: whatever it raises is its own failure only
            if self.failures.get(owner) != str(error):
                log.exception("renderer failed", extra={"renderer": owner.renderer, "record": owner.record})
            self.failures[owner] = f"{type(error).__name__}: {error}"
            return
        self.failures.pop(owner, None)
        items, records = node.value
        self._replace(owner, items, records)

    def _rerender(self, node: RenderNode) -> Any:
        _, name, key = node.identity
        renderer = self.renderers[name]
        view = RecordingView(self, self._allowed[name], name)
        items: dict[str, Item] = {}
        records: dict[tuple[str, str], Record] = {}
        derived = self._derives[name]
        view.get(renderer.table, key)  # the record itself is always read
        try:
            for output in renderer.render(view, key):
                if isinstance(output, Item):
                    if output.kind not in renderer.produces:
                        raise RendererError(f"renderer {name} makes {output.kind}: add it to its 'produces'")
                    known = items.setdefault(output.key, output)
                    if known is not output and known != output:
                        raise RendererError(f"renderer {name} gives {output.key} two values for record {key}")
                else:
                    table = next((table for table in derived if type(output) is table.record), None)
                    if table is None:
                        made = type(output).__name__
                        raise RendererError(f"renderer {name} makes a {made}: it derives no such table")
                    records[table.name, table.key(output)] = output
        finally:
            self._link(node, view.reads)
        return items, records

    def _replace(self, owner: Owner, items: dict[str, Item], records: dict[tuple[str, str], Record]) -> None:
        old_items, old_records = self._output.get(owner, _NOTHING)
        if items or records:
            self._output[owner] = (items, records)
        else:
            self._output.pop(owner, None)
        for key in old_items.keys() | items.keys() if old_items else items:
            old, new = old_items.get(key), items.get(key)
            if old is new or old == new:
                continue
            owners = self.owners.setdefault(key, {})
            if new is None:
                del owners[owner]
                if not owners:
                    del self.owners[key]
            else:
                owners[owner] = new
            self._changed_keys.add(key)
        if old_records or records:
            keys = old_records.keys() | records.keys()
            if changed := {key for key in keys if old_records.get(key) != records.get(key)}:
                self._derive(owner, records, changed)

    def _derive(self, owner: Owner, records: dict[tuple[str, str], Record], changed: set[tuple[str, str]]) -> None:
        """Write derived records; where several owners derive one key, the smallest owner's is in force."""
        changes: list[Change] = []
        for table, key in sorted(changed):
            owners = self._derived[table, key]
            new = records.get((table, key))
            if new is None:
                owners.pop(owner, None)
            else:
                owners[owner] = new
            rows = self.state.table(table)
            old = rows.get(key)
            if owners:
                winner = owners[min(owners)]
                if winner != old:
                    rows.put(key, winner)
                    changes.append(Change(table, key, old, winner))
            else:
                del self._derived[table, key]
                rows.remove(key)
                changes.append(Change(table, key, old, None))
        self.note(changes)


def _describe(node: RenderNode) -> str:
    if node.identity[0] == "call":
        return f"function {getattr(node.identity[1], '__name__', '?')}{node.identity[2]}"
    return " ".join(str(part) for part in node.identity)
