# SPDX-License-Identifier: Apache-2.0
"""Finding, checking and ordering plugins; each error names the plugin and its distribution."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stevedore import ExtensionManager

from contivpp_core.errors import PluginError
from contivpp_core.loading import installed, load, load_available, manager_for, order
from contivpp_core.plugin import Plugin, hookimpl

GOOD = """
from contivpp_core.plugin import Plugin
class P(Plugin):
    name = {name!r}
    requires = {requires!r}
"""
FITS = GOOD.format(name="t1", requires=())
Install = Callable[..., None]
_numbers = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one plugin into a directory on the path."""

    def add(
        name: str, code: str | None = None, *, requires: tuple[str, ...] = (), distribution: str | None = None
    ) -> None:
        number = next(_numbers)
        distribution = distribution or f"dist-{name}"
        root = tmp_path / str(number)
        info = root / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[contivpp.plugins]\n{name} = trial_{number}:P\n")
        (root / f"trial_{number}.py").write_text(code or GOOD.format(name=name, requires=requires))
        monkeypatch.syspath_prepend(str(root))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # stevedore reads the installed distributions once for each process; these tests change them.
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    return add


def test_plugins_come_in_the_order_of_what_they_require(install: Install) -> None:
    install("t1", requires=("t2",))
    install("t2", requires=("t3",))
    install("t3")
    assert {"t1", "t2", "t3"} <= installed()
    loaded = load(["t1", "t2", "t3"])
    assert [entry.name for entry in loaded] == ["t3", "t2", "t1"]
    assert (loaded[0].distribution, loaded[0].version) == ("dist-t3", "1.2")


def test_what_is_not_enabled_is_not_imported(install: Install) -> None:
    install("t1")
    install("boom", "raise SystemError('must not be imported')")
    assert [entry.name for entry in load(["t1"])] == ["t1"]
    assert "boom" in installed()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("import no_such_module", r"\(dist-t1\) cannot be imported: .*no_such_module", id="import"),
        pytest.param("Q = 1", r"t1 \(dist-t1\) cannot be imported: AttributeError", id="no such attribute"),
        pytest.param("P = 5", r"t1 \(dist-t1\): .* neither a class nor a function", id="a number"),
        pytest.param("class P:\n  name = 't1'", r"t1 \(dist-t1\) is a P: it must derive", id="wrong class"),
        pytest.param("def P():\n  raise ValueError('x')", r"t1 \(dist-t1\) cannot be made: ValueError: x", id="raises"),
        pytest.param(GOOD.format(name="other", requires=()), r"t1 \(dist-t1\) calls itself other", id="other name"),
        pytest.param(GOOD.format(name="t1", requires="ipam"), r"t1 \(dist-t1\): 'requires' must be a tuple", id="text"),
        pytest.param(FITS + "    api_version = (1, 0)", "version 1.0 of the plugin", id="major"),
        pytest.param(FITS + "    api_version = (0, 9)", "version 0.9 of the plugin", id="minor"),
    ],
)  # fmt: skip
def test_a_plugin_that_does_not_fit(install: Install, code: str, told: str) -> None:
    install("t1", code)
    with pytest.raises(PluginError, match=told):
        load(["t1"])


def test_a_name_that_is_not_installed(install: Install) -> None:
    install("t1")
    with pytest.raises(PluginError, match=r"plugin t2 is not installed .* installed are .*t1"):
        load(["t1", "t2"])


def test_a_name_offered_twice(install: Install) -> None:
    install("t1", distribution="dist-a")
    install("t1", distribution="dist-b")
    with pytest.raises(PluginError, match="t1 is offered by dist-a and dist-b"):
        load(["t1"])


def test_a_requirement_that_is_not_enabled(install: Install) -> None:
    install("t1", requires=("t2",))
    install("t2")
    with pytest.raises(PluginError, match=r"t1 \(dist-t1\) requires the plugin t2, which is not enabled"):
        load(["t1"])


def test_a_circle(install: Install) -> None:
    install("t1", requires=("t2",))
    install("t2", requires=("t1",))
    with pytest.raises(PluginError, match=r"in a circle: .*t1 \(dist-t1\)"):
        load(["t1", "t2"])


def test_broken_plugins_do_not_hide_the_others(install: Install) -> None:
    install("t1")
    install("t2", "import no_such_module")
    failures: dict[str, PluginError] = {}
    names = {entry.name for entry in load_available(failures.__setitem__)}
    assert "t1" in names
    assert "dist-t2" in str(failures["t2"])


def plugin(name: str, requires: tuple[str, ...] = (), **methods: Any) -> Plugin:
    return type("P", (Plugin,), {"name": name, "requires": requires, **methods})()  # type: ignore[no-any-return]


def test_plugin_objects_need_no_distribution() -> None:
    assert [entry.name for entry in order([plugin("b", ("a",)), plugin("a")])] == ["a", "b"]
    with pytest.raises(PluginError, match="two plugins are named a"):
        order([plugin("a"), plugin("a")])
    with pytest.raises(PluginError, match="must derive"):
        order([object()])  # type: ignore[list-item]


def test_a_misspelt_hook_and_a_wrong_argument_are_errors() -> None:
    @hookimpl
    def pod_wried(self: Plugin, event: object) -> None: ...

    @hookimpl
    def pod_wired(self: Plugin, evnt: object) -> None: ...

    with pytest.raises(PluginError, match=r"plugin a \(in-process\).*pod_wried"):
        manager_for(order([plugin("a", pod_wried=pod_wried)]))
    with pytest.raises(PluginError, match=r"plugin a \(in-process\)(?s:.*)evnt"):
        manager_for(order([plugin("a", pod_wired=pod_wired)]))


def test_hook_wrappers_are_refused() -> None:
    @hookimpl(wrapper=True)
    def pod_wired(self: Plugin) -> Any:
        return (yield)

    with pytest.raises(PluginError, match="hook wrapper"):
        manager_for(order([plugin("a", pod_wired=pod_wired)]))


@given(st.permutations(range(6)), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_every_plugin_follows_what_it_requires(listed: list[int], edges: list[tuple[int, int]]) -> None:
    requires = {n: tuple(sorted({f"p{b}" for a, b in edges if a == n and b < a})) for n in range(6)}
    names = [entry.name for entry in order([plugin(f"p{n}", requires[n]) for n in listed])]
    assert sorted(names) == [f"p{n}" for n in range(6)]
    for n in range(6):
        assert all(names.index(required) < names.index(f"p{n}") for required in requires[n])
