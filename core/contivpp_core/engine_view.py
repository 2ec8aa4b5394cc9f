# SPDX-License-Identifier: Apache-2.0
"""What the renderer engine (`contivpp_core.engine`) computes with: nodes, and the view that notes what was read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from contivpp_core.errors import RendererError
from contivpp_core.selectors import EVERYTHING, LabelSelector

__all__ = ["RecordingView", "RenderNode"]

_NOBODY: frozenset[Any] = frozenset()
"""No readers: the renderings of ten thousand records have none, and need no set of their own for that."""


class RenderNode:
    """Something that is computed: a read (leaf), a memoised call, or the rendering of one record."""

    __slots__ = ("changed", "checked", "doubt", "evaluate", "identity", "readers", "reads", "running", "value")

    def __init__(self, identity: tuple[Any, ...], evaluate: Callable[[RenderNode], Any]) -> None:
        self.identity = identity
        self.evaluate = evaluate
        self.value: Any = None
        self.changed = -1  # the revision in which the value last became another
        self.checked = -1  # the revision in which it was last known to be right
        self.doubt = True
        self.running = False
        self.reads: tuple[RenderNode, ...] = ()
        self.readers: set[RenderNode] | frozenset[RenderNode] = _NOBODY


class _Engine(Protocol):
    """What a view needs of the engine."""

    def node(self, identity: tuple[Any, ...]) -> RenderNode: ...

    def value(self, node: RenderNode) -> Any: ...


class RecordingView:
    """The view that one computation uses: it hands out up-to-date values and notes the nodes behind them."""

    __slots__ = ("_allowed", "_engine", "_who", "reads")

    def __init__(self, engine: _Engine, allowed: frozenset[str] | None, who: str) -> None:
        self._engine = engine
        self._allowed = allowed
        self._who = who
        self.reads: dict[RenderNode, None] = {}

    def _check(self, table: str) -> None:
        if self._allowed is not None and table not in self._allowed:
            raise RendererError(f"renderer {self._who} reads table {table}: add it to its 'reads'")

    def _read(self, identity: tuple[Any, ...]) -> Any:
        node = self._engine.node(identity)
        self.reads[node] = None
        return self._engine.value(node)

    def get(self, table: str, key: str) -> Any:
        self._check(table)
        return self._read(("get", table, key))

    def where(self, table: str, **index: str) -> Any:
        self._check(table)
        if len(index) != 1:
            raise RendererError(f"renderer {self._who}: 'where' takes exactly one index, got {sorted(index)}")
        ((name, value),) = index.items()
        return self._read(("where", table, name, value))

    def select(
        self,
        table: str,
        *,
        namespaces: Iterable[str] | None = None,
        labels: LabelSelector = EVERYTHING,
        fields: tuple[str, ...] = (),
    ) -> Any:
        self._check(table)
        scope = None if namespaces is None else tuple(sorted(namespaces))
        return self._read(("select", table, scope, labels, fields))

    def ready(self, table: str) -> bool:
        self._check(table)
        return bool(self._read(("ready", table)))

    def call(self, function: Callable[..., Any], *arguments: Hashable) -> Any:
        # What a memoised function may read depends on who calls it: the set is part of its identity.
        return self._read(("call", function, arguments, self._allowed))
