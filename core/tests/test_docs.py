# SPDX-License-Identifier: Apache-2.0
"""The README is held to the code: hooks, events, routes, settings, and its Python blocks run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from contivpp_core import events, hookspecs
from contivpp_core.agent import Agent
from contivpp_core.api_routes import core_routes
from contivpp_core.config import CORE_FIELDS

README = (Path(__file__).parents[1] / "README.md").read_text()
HOOKS: dict[str, Any] = {
    name: spec
    for name, spec in vars(hookspecs).items()
    if inspect.isfunction(spec) and hasattr(spec, "contivpp_spec")
}


def section(heading: str) -> str:
    """Return the text below a heading of the fourth level, with its lines joined."""
    found = re.search(rf"^#### {re.escape(heading)}\n(.*?)(?=^##|\Z)", README, flags=re.MULTILINE | re.DOTALL)
    assert found, f"core/README.md has no '#### {heading}'"
    return " ".join(found[1].split())


def test_there_are_hooks_and_events() -> None:
    assert {"config_section", "allocate_address", "pod_wired"} <= HOOKS.keys()


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented(name: str) -> None:
    arguments = ", ".join(inspect.signature(HOOKS[name]).parameters)
    assert section(f"{name}({arguments})") == " ".join(inspect.getdoc(HOOKS[name]).split())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", events.__all__)
def test_event_is_documented(name: str) -> None:
    event = getattr(events, name)
    fields = ", ".join(event.__struct_fields__)
    assert section(f"{name}({fields})") == " ".join(inspect.getdoc(event).split())  # type: ignore[union-attr]


def test_the_readme_names_no_hook_or_event_that_does_not_exist() -> None:
    headings = re.findall(r"^#### (\w+)\(", README, flags=re.MULTILINE)
    assert sorted(headings) == sorted([*HOOKS, *events.__all__])


def test_every_setting_and_route_is_documented() -> None:
    settings = set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE))
    assert settings >= CORE_FIELDS
    agent = Agent({}, [], ledger_path=None, serve=False)
    for route in core_routes(agent):
        assert f"`{route.method} {route.path}" in README


def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)


CALLED_BY_CORE = (
    *("config_section", "tables", "renderers", "descriptors", "planned_start", "metrics", "commands", "api_routes"),
    *("agent_started", "agent_stopping", "item_failed", "item_recovered", "resync_done"),
)


@pytest.mark.parametrize("name", CALLED_BY_CORE)
def test_hook_that_core_calls_has_a_test(name: str) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert any(name in words for words in re.findall(r"def test_hook_(\w+)", tests))
