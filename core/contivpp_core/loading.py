# SPDX-License-Identifier: Apache-2.0
"""Finding plugins and putting them in order.

Distributions name their plugins in the entry-point group `contivpp.plugins`; the configuration enables them by
name. A plugin that is missing, cannot be imported, does not fit, or whose `requires` cannot be met stops the
agent with an error that names the plugin and its distribution: half a network is worse than none.

Tests and in-process rigs hand over plugin objects instead (`order`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from contivpp_core.errors import PluginError
from contivpp_core.plugin import API_VERSION, ENTRY_POINT_GROUP, PROJECT, Plugin

__all__ = ["IN_PROCESS", "LoadedPlugin", "installed", "load", "load_available", "manager_for", "one_source", "order"]


IN_PROCESS = "in-process"
"""The distribution of plugins that are handed over as objects."""


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin, and where it came from."""

    plugin: Plugin
    distribution: str = IN_PROCESS
    version: str = ""

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin.name


def installed() -> frozenset[str]:
    """Return the names of all installed plugins, without importing any."""
    return frozenset(_entry_points())


def load(names: Sequence[str]) -> list[LoadedPlugin]:
    """Load the named plugins and return them in the order of what they require."""
    known = _entry_points()
    if missing := [name for name in names if name not in known]:
        raise PluginError(
            f"plugin {missing[0]} is not installed (no entry point of the group {ENTRY_POINT_GROUP}); "
            f"installed are {', '.join(sorted(known)) or 'none'}: install the distribution that has it "
            f"(contivpp-{missing[0]}?), or correct 'plugins'"
        )
    for name in names:
        if len(known[name]) > 1:
            places = " and ".join(sorted(_distribution(point)[0] for point in known[name]))
            raise PluginError(f"plugin {name} is offered by {places}: uninstall one of them")

    def fail(name: str, error: PluginError) -> None:
        raise error

    return order(_load_each(names, known, fail))


def load_available(on_failure: Callable[[str, PluginError], None]) -> list[LoadedPlugin]:
    """Load every installed plugin that can be loaded; report the others to `on_failure`."""
    known = _entry_points()
    return _load_each(sorted(known), known, on_failure)


def order(plugins: Iterable[LoadedPlugin | Plugin]) -> list[LoadedPlugin]:
    """Check plugins against each other, and order them so that each follows what it requires."""
    loaded: dict[str, LoadedPlugin] = {}
    for plugin in plugins:
        entry = plugin if isinstance(plugin, LoadedPlugin) else LoadedPlugin(_checked(plugin, IN_PROCESS))
        if entry.name in loaded:
            other = loaded[entry.name].distribution
            raise PluginError(f"two plugins are named {entry.name}, in {other} and in {entry.distribution}")
        loaded[entry.name] = entry
    for entry in loaded.values():
        for required in entry.plugin.requires:
            if required not in loaded:
                raise PluginError(
                    f"plugin {entry.name} ({entry.distribution}) requires the plugin {required}, which is not enabled: "
                    f"add {required} to 'plugins', or remove {entry.name}"
                )
    # Plugins that do not require each other keep the order of the configuration: the sorter is fed in it.
    sorter = TopologicalSorter({name: entry.plugin.requires for name, entry in loaded.items()})
    try:
        return [loaded[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " -> ".join(f"{name} ({loaded[name].distribution})" for name in reversed(error.args[1]))
        raise PluginError(f"plugins require each other in a circle: {circle}") from None


def manager_for(plugins: Sequence[LoadedPlugin]) -> pluggy.PluginManager:
    """Register plugins, in this order, against the hook specifications; a misspelt hook is an error."""
    from contivpp_core import hookspecs  # noqa: PLC0415 (the specifications name every part of the core)

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for entry in plugins:
        try:
            manager.register(entry.plugin, name=entry.name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin {entry.name} ({entry.distribution}): {error}") from error
        for caller in manager.get_hookcallers(entry.plugin) or ():
            for implementation in caller.get_hookimpls():
                if implementation.wrapper or implementation.hookwrapper:
                    raise PluginError(
                        f"plugin {entry.name} ({entry.distribution}): {caller.name} is a hook wrapper; "
                        "these are not supported: implement the hook itself"
                    )
    return manager


def one_source(plugins: Iterable[LoadedPlugin]) -> None:
    """Check that no two plugins fill the same table: each would take away what the other has written."""
    filled: dict[str, str] = {}
    for entry in plugins:
        for table in entry.plugin.sources:
            if (other := filled.setdefault(table, entry.name)) != entry.name:
                raise PluginError(
                    f"plugins {other} and {entry.name} both fill the table {table}, and would undo each other: "
                    "disable one, or let it leave the table alone (datastore: driver none)"
                )


def _entry_points() -> dict[str, list[EntryPoint]]:
    """Return the entry points of the group by name; stevedore's own list does not know their distributions."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _load_each(
    names: Sequence[str], known: dict[str, list[EntryPoint]], on_failure: Callable[[str, PluginError], None]
) -> list[LoadedPlugin]:
    from stevedore import NamedExtensionManager  # noqa: PLC0415 (a good part of the command's start-up time)

    errors: dict[str, BaseException] = {}

    def missing(absent: Iterable[str]) -> None:  # also told of those that failed
        for name in absent:
            errors.setdefault(name, ImportError("its entry point cannot be read"))

    def failure(manager: object, point: EntryPoint, error: BaseException) -> None:
        errors[point.name] = error

    # Both callbacks are needed: without them stevedore logs what it cannot load, and goes on.
    manager: NamedExtensionManager[Any] = NamedExtensionManager(
        ENTRY_POINT_GROUP,
        names=list(names),
        invoke_on_load=False,
        on_missing_entrypoints_callback=missing,
        on_load_failure_callback=failure,
    )
    factories = {extension.name: extension.plugin for extension in manager}
    loaded = []
    for name in names:
        point = known[name][0]
        try:
            if name in errors:
                raise _not_importable(point, errors[name])
            loaded.append(_make(point, factories[name]))
        except PluginError as error:
            on_failure(name, error)
    return loaded


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("an unknown distribution", "")


def _not_importable(point: EntryPoint, error: BaseException) -> PluginError:
    distribution, _ = _distribution(point)
    failure = PluginError(
        f"plugin {point.name} ({distribution}) cannot be imported: {type(error).__name__}: {error}: "
        f"reinstall {distribution}, or remove {point.name} from 'plugins'"
    )
    failure.__cause__ = error
    return failure


def _make(point: EntryPoint, factory: Any) -> LoadedPlugin:
    distribution, version = _distribution(point)
    if not callable(factory):
        raise PluginError(
            f"plugin {point.name} ({distribution}): {point.value} is neither a class nor a function"
        )
    try:
        plugin = factory()
    except Exception as error:
        raise PluginError(
            f"plugin {point.name} ({distribution}) cannot be made: {type(error).__name__}: {error}"
        ) from error
    _checked(plugin, distribution, name=point.name)
    if plugin.name != point.name:
        raise PluginError(
            f"plugin {point.name} ({distribution}) calls itself {plugin.name}: entry point and name must be equal"
        )
    return LoadedPlugin(plugin, distribution, version)


def _checked(plugin: object, distribution: str, *, name: str | None = None) -> Plugin:
    name = name or getattr(plugin, "name", None) or type(plugin).__name__
    if not isinstance(plugin, Plugin):
        raise PluginError(
            f"plugin {name} ({distribution}) is a {type(plugin).__name__}: "
            "it must derive from contivpp_core.plugin.Plugin"
        )
    if not isinstance(getattr(plugin, "name", None), str) or not plugin.name:
        raise PluginError(f"plugin {name} ({distribution}) has no name: set its class variable 'name'")
    if isinstance(plugin.requires, str):
        raise PluginError(f"plugin {name} ({distribution}): 'requires' must be a tuple of names, not text")
    major, minor = plugin.api_version
    if major != API_VERSION[0] or minor > API_VERSION[1]:
        raise PluginError(
            f"plugin {name} ({distribution}) is made for version {major}.{minor} of the plugin contract, this core has "
            f"{API_VERSION[0]}.{API_VERSION[1]}: install versions of both that fit"
        )
    return plugin
