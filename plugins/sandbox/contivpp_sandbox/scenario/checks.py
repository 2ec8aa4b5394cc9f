# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a scenario that has the right shape: names that nothing has at that step, settings that no agent
would take, objects that have not the shape of their kind. And what this release does not serve yet: it is refused
here, by name, instead of giving a verdict that means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contivpp_contiv.plugin import ContivPlugin
from contivpp_core.config import Source
from contivpp_core.errors import ConfigError
from contivpp_ipam.config import IpamConfig
from contivpp_ipam.plugin import IpamPlugin
from contivpp_ipam.subnets import ClusterSubnets
from contivpp_sandbox.scenario.model import Item
from contivpp_sandbox.scenario.walk import Walk
from contivpp_vpp.plugin import VppPlugin

__all__ = ["check"]

Fault = tuple[str, str]

_RIGS_OWN = ("nodeName", "plugins", "stateDir", "runDir", "healthAddress", "datastore")
_SECTIONS_OWN = {
    "contiv": ("nodeID", "cniSocket", "mainInterface"),
    "vpp": ("apiSocket", "statsSocket", "cliSocket"),
}


def check(nodes: Sequence[str], config: Mapping[str, Any], items: Iterable[tuple[str, Item]]) -> list[Fault]:
    """Return every fault; `items` are what the steps hold, in order, each with its path in the file."""
    faults = [*_nodes(nodes)]
    subnets, wrong = _config(config)
    faults += wrong
    walk = Walk(nodes, subnets)
    for path, item in items:
        faults += walk.take(path, item)
    return faults


def _nodes(nodes: Sequence[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, name in enumerate(nodes):
        if name in seen:
            yield f"nodes.{index}", f"{name} is named twice"
        seen.add(name)


def _config(config: Mapping[str, Any]) -> tuple[ClusterSubnets, list[Fault]]:
    """Check the settings as an agent would; return the cluster's subnets, the default ones where they are wrong."""
    faults = [(f"config.{name}", "is set by the rig: leave it out") for name in _RIGS_OWN if name in config]
    settings = {name: value for name, value in config.items() if name not in _RIGS_OWN}
    for section, names in _SECTIONS_OWN.items():
        given = config.get(section)
        if isinstance(given, Mapping):
            own = [name for name in names if name in given]
            faults += [(f"config.{section}.{name}", "is set by the rig: leave it out") for name in own]
            settings[section] = {name: value for name, value in given.items() if name not in own}
    sections = [plugin.config_section() for plugin in (VppPlugin(), IpamPlugin(), ContivPlugin(serve=False))]
    try:
        checked = Source("config", {**settings, "nodeName": "node"}).check(sections)
    except ConfigError as error:
        for line in error.faults:
            path, _, reason = line.removeprefix("config: ").partition(": ")
            faults.append((f"config.{path}", reason) if reason else ("config", path))
        return IpamConfig.model_validate({}).subnets(), faults
    return checked.section("ipam", IpamConfig).subnets(), faults
