# SPDX-License-Identifier: Apache-2.0
"""The configuration: defaults, sections, and every fault at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.config import DEFAULT_PLUGINS, ConfigSection, Section, Source
from contivpp_core.errors import ConfigError


class Range(Section):
    first_port: int = 1


class IpamSection(Section):
    pod_subnet: str = "10.1.0.0/16"
    mtu: int = 1450
    ranges: tuple[Range, ...] = ()


class Reach(Section):
    url: int = 0
    endpoints: tuple[str, ...] = ()
    password_file: Path = Path("/p")
    token: int = 0
    key: Literal["a"] = "a"


IPAM = ConfigSection("ipam", IpamSection)
REACH = ConfigSection("reach", Reach)


def read(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Source:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return Source.read(path, environment=environment or {})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text).check([IPAM], installed=["ipam", "policy"])
    return [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults]


def test_an_empty_file_gives_defaults(tmp_path: Path) -> None:
    source = read(tmp_path, "")
    assert source.plugins == DEFAULT_PLUGINS
    config = source.check([IPAM])
    assert config.settings.node_name
    assert str(config.settings.socket_path) == "/run/contivpp/agent.sock"
    assert config.section("ipam", IpamSection).mtu == 1450


def test_values_are_read(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "nodeName: n1\nplugins: [ipam]\nhealthAddress: 127.0.0.1:9999\n"
        "ipam: {podSubnet: 10.9.0.0/16, ranges: [{firstPort: 3}]}",
    )
    assert source.plugins == ("ipam",)
    config = source.check([IPAM])
    assert config.settings.node_name == "n1"
    assert config.section("ipam", IpamSection).ranges == (Range(firstPort=3),)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not a Range"):
        config.section("ipam", Range)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = """
nodeName: ""
logFormat: xml
healthAddress: nowhere
plugins: [ipam, ipam]
node_name: n1
policy: {}
ipam:
  mtu: big
  podsubnet: 10.1.0.0/16
  ranges: [{firstPort: 1}, {firstPort: x}]
"""
    told = faults(tmp_path, text.replace("[ipam, ipam]", "[ipam]"))
    assert [line.split(": ")[:2] for line in told] == [
        ["agent.yaml", "nodeName"],
        ["agent.yaml", "logFormat"],
        ["agent.yaml", "healthAddress"],
        ["agent.yaml", "ipam.mtu"],
        ["agent.yaml", "ipam.ranges.1.firstPort"],
        ["agent.yaml", "ipam.podsubnet"],
        ["agent.yaml", "node_name"],
        ["agent.yaml", "policy"],
    ]
    assert "got 'big'" in told[3]
    assert "the plugin policy is not enabled" in told[7]
    assert not any("pydantic" in line for line in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("a: [1", "agent.yaml: line 1: not YAML", id="syntax"),
        pytest.param("nodeName: a\n#\nnodeName: b", "agent.yaml: line 3: nodeName stands here and in", id="twice"),
        pytest.param("ipam: {mtu: 1, mtu: 2}", "agent.yaml: line 1: mtu stands here", id="duplicate below"),
        pytest.param("[1, 2]", "agent.yaml: the file must hold settings", id="list"),
        pytest.param("just text", "agent.yaml: the file must hold settings", id="text"),
        pytest.param("5: x", "agent.yaml: 5: names of settings must be text", id="number as a name"),
        pytest.param("plugins: [ipam, ipam]", "agent.yaml: plugins.1: ipam is named twice", id="plugin twice"),
        pytest.param("plugins: ipam", "agent.yaml: plugins: ", id="plugins is no list"),
        pytest.param("ipam: [1]", "agent.yaml: ipam: ", id="section is a list"),
    ],
)  # fmt: skip
def test_one_fault(tmp_path: Path, text: str, told: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(told)


def test_a_missing_file_and_a_binary_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file.*--config"):
        Source.read(tmp_path / "none.yaml")
    (tmp_path / "agent.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        Source.read(tmp_path / "agent.yaml")


def test_the_list_of_plugins_is_known_although_another_setting_is_wrong(tmp_path: Path) -> None:
    assert read(tmp_path, "plugins: [ipam]\nlogLevel: loud").plugins == ("ipam",)
    with pytest.raises(ConfigError, match=r"plugins\.0"):
        _ = read(tmp_path, "plugins: [[1]]").plugins


def test_the_environment_replaces_settings(tmp_path: Path) -> None:
    source = read(tmp_path, "nodeName: file", {"CONTIVPP_NODE_NAME": "variable"})
    assert source.check([]).settings.node_name == "variable"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["plugins", "ipam", "mtu", "nodeName", "stateDir"]) | st.text(max_size=3),
                        inner, max_size=4)))  # fmt: skip
def test_any_content_is_either_accepted_or_a_list_of_faults(data: object) -> None:
    told: list[str] | None = None
    try:
        Source("file", data).check([IPAM])
    except ConfigError as error:
        told = error.faults
    if told is not None:
        assert told
        assert all(fault.startswith("file: ") for fault in told)


SECRET = "hunter2"
URL = f"https://root:{SECRET}/@x@10.0.0.1"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"reach: {{url: '{URL}'}}", id="a URL with a password"),
        pytest.param(f"reach: {{endpoints: '{URL}'}}", id="one URL for a list of them"),
        pytest.param(f"reach: '{URL}'", id="a URL for a section"),
        pytest.param(f"logLevel: '{URL}'", id="a URL for a word"),
        pytest.param(f"'{URL}': 1", id="a URL for a name"),
        pytest.param("reach: {passwordFile: 72}", id="a password in digits for its file"),
        pytest.param("reach: {token: [[hunter2]]}", id="a token for a list"),
        pytest.param("reach: {token: hunter2}", id="a token for a number"),
        pytest.param("reach: {key: hunter2}", id="a key for a word"),
        pytest.param("reach: {password: hunter2}", id="a password for its file"),
        pytest.param("password: hunter2", id="a password at the top"),
        pytest.param("token: {hunter2: [}", id="no YAML"),
    ],
)
def test_a_fault_never_repeats_what_may_be_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text).check([REACH])
    told = "".join(caught.value.faults).replace(str(tmp_path), "")
    assert SECRET not in told
    assert "72" not in told
