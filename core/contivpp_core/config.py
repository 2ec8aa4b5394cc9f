# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration: one YAML file, typed sections, every fault told at once.

The core's own settings stand at the top level; each enabled plugin may contribute one section below its name
(hook `config_section`). Which plugins are enabled is itself a setting, so reading has two steps: `Source` is the
file as it is written, with its list of plugins; `Config` is the whole, checked against the sections of these
plugins. A fault is one line: `file: path.in.file: reason`. It repeats the value that is wrong, but nothing that may be
secret: the value of a setting whose name says so (who gives a password where its file is asked for), a URL's user.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from contivpp_core.errors import ConfigError

__all__ = ["DEFAULT_PLUGINS", "Config", "ConfigSection", "CoreSettings", "DriftSettings", "Section", "Source"]

DEFAULT_PLUGINS = ("vpp", "linux", "ipam", "contiv")
ENVIRONMENT = {"CONTIVPP_NODE_NAME": "nodeName", "CONTIVPP_LOG_LEVEL": "logLevel"}
"""Variables that replace a setting: one configuration can then serve every node of a cluster."""

_SECRET_SETTING = re.compile(r"password|token|secret|key|credential", re.IGNORECASE)
_USER_OF_URL = re.compile(r"://[^\s'\"]*@")

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """Base of section models: camelCase in the file, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_default=True)


@dataclass(frozen=True)
class ConfigSection:
    """A plugin's part of the configuration: the `name` of its section, and the model of its content.

    `unplanned` names settings, as they stand in the file, whose effect `contivpp plan` cannot foresee (sockets, paths).
    """

    name: str
    model: type[BaseModel]
    unplanned: tuple[str, ...] = ()


def _host_and_port(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if value and not (separator and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("must be ADDRESS:PORT, for example 127.0.0.1:9999, or empty")
    return value


def _node_name() -> str:
    return socket.gethostname().lower()


class DriftSettings(Section):
    """How the dataplanes are checked for what others changed in them."""

    interval_seconds: float = Field(default=300.0, ge=0, allow_inf_nan=False)
    """A round over all kinds takes at least so long; 0: nothing is checked."""
    share: float = Field(default=0.01, gt=0, le=0.5, allow_inf_nan=False)
    """The time spent in checks, of all time, at most."""


class CoreSettings(Section):
    """The settings of the core."""

    node_name: str = Field(default_factory=_node_name, min_length=1, max_length=253)
    plugins: tuple[str, ...] = DEFAULT_PLUGINS
    state_dir: Path = Path("/var/lib/contivpp")
    run_dir: Path = Path("/run/contivpp")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    health_address: Annotated[str, AfterValidator(_host_and_port)] = ""
    """Where /healthz, /readyz and /metrics are served over TCP, for probes and Prometheus; empty: nowhere."""
    drift: DriftSettings = Field(default_factory=DriftSettings)

    @property
    def socket_path(self) -> Path:
        """The socket of the local API."""
        return self.run_dir / "agent.sock"


CORE_FIELDS = frozenset(field.alias or name for name, field in CoreSettings.model_fields.items())


class Source:
    """A configuration as written: its `name` for messages, its `data`, and the `plugins` that it enables."""

    def __init__(self, name: str, data: object, *, environment: Mapping[str, str] | None = None) -> None:
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise ConfigError(
                [f"{name}: the file must hold settings (`name: value`), not a {type(data).__name__}"]
            )
        if wrong := [key for key in data if not isinstance(key, str)]:
            raise ConfigError([f"{name}: {key!r}: names of settings must be text" for key in wrong])
        self.name = name
        self.data: dict[str, Any] = dict(data)
        for variable, setting in ENVIRONMENT.items():
            if environment and variable in environment:
                self.data[setting] = environment[variable]

    @classmethod
    def read(cls, path: Path | str, *, environment: Mapping[str, str] | None = None) -> Source:
        """Read a YAML file; the process's environment applies unless another one is given."""
        try:
            text = Path(path).read_text("utf-8")
        except OSError as error:
            raise ConfigError([f"{path}: {error.strerror}: name the configuration by --config"]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([f"{path}: byte {error.start}: the file must be UTF-8 text"]) from error
        return cls.parse(str(path), text, environment=os.environ if environment is None else environment)

    @classmethod
    def parse(cls, name: str, text: str, *, environment: Mapping[str, str] | None = None) -> Source:
        """Take YAML text; `name` is for messages."""
        return cls(name, _parse(name, text), environment=environment)

    @property
    def plugins(self) -> tuple[str, ...]:
        """The enabled plugins, also when other settings are wrong."""
        if "plugins" not in self.data:
            return DEFAULT_PLUGINS
        _, faults = self._core()
        if any(path.startswith("plugins") for path, _ in faults):
            raise ConfigError(self._lines(faults))
        return tuple(self.data["plugins"])

    def faults(self) -> list[str]:
        """Return the faults in the core's own settings."""
        return self._lines(self._core()[1])

    def check(self, sections: Iterable[ConfigSection], *, installed: Collection[str] = ()) -> Config:
        """Check everything and return the configuration, or raise `ConfigError` with all faults."""
        models = {section.name: section.model for section in sections}
        settings, faults = self._core()
        values: dict[str, BaseModel] = {}
        for name, model in models.items():
            value, wrong = _validate(model, self.data.get(name) or {})
            faults += [(".".join(filter(None, (name, path))), reason) for path, reason in wrong]
            if value is not None:
                values[name] = value
        for name in self.data:
            if name not in CORE_FIELDS and name not in models:
                faults.append((name, self._unknown(name, models, installed)))
        if faults or settings is None:
            raise ConfigError(self._lines(faults))
        return Config(settings, values)

    def _core(self) -> tuple[CoreSettings | None, list[tuple[str, str]]]:
        settings, faults = _validate(
            CoreSettings, {key: self.data[key] for key in self.data if key in CORE_FIELDS}
        )
        if settings is not None:
            seen: set[str] = set()
            for index, plugin in enumerate(settings.plugins):
                if plugin in seen:
                    faults.append((f"plugins.{index}", f"{plugin} is named twice"))
                seen.add(plugin)
        return settings, faults

    def _unknown(self, name: str, models: Mapping[str, Any], installed: Collection[str]) -> str:
        if name in installed:
            return f"the plugin {name} is not enabled: add it to 'plugins', or remove this section"
        known = ", ".join(sorted({*CORE_FIELDS, *models}))
        return f"no setting and no section of an enabled plugin has this name; known are {known}"

    def _lines(self, faults: Iterable[tuple[str, str]]) -> list[str]:
        lines = [f"{path}: {reason}" if path else reason for path, reason in faults]
        return [f"{self.name}: {_USER_OF_URL.sub('://***@', line)}" for line in lines]


class Config:
    """A checked configuration."""

    def __init__(self, settings: CoreSettings, sections: Mapping[str, BaseModel]) -> None:
        self.settings = settings
        self._sections = dict(sections)

    def section(self, name: str, model: type[S] | None = None) -> S:
        """Return a plugin's section; its model, when given, is the type of the result."""
        section = self._sections[name]
        if model is not None and not isinstance(section, model):
            raise TypeError(f"section {name} is a {type(section).__name__}, not a {model.__name__}")
        return section  # type: ignore[return-value]


def _validate(model: type[S], data: object) -> tuple[S | None, list[tuple[str, str]]]:
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, [
            (
                ".".join(str(part) for part in _written(model, fault["loc"])),
                _reason(fault),
            )
            for fault in error.errors(include_url=False)
        ]


def _written(model: type[BaseModel], path: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the path as the file has it: of a setting that is not there, pydantic tells the field's name."""
    field = model.model_fields.get(str(path[0])) if path else None
    return path if field is None else (field.alias or path[0], *path[1:])


def _reason(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown setting"
    if fault["type"] == "missing":
        return "is missing"
    message = fault["msg"].removeprefix("Value error, ")
    setting = next((part for part in reversed(fault["loc"]) if isinstance(part, str)), "")
    secret = _SECRET_SETTING.search(setting) is not None
    if fault["type"] == "value_error" or isinstance(fault["input"], dict | list) or secret:
        return message
    return f"{message}, got {fault['input']!r}"


class _Loader(yaml.SafeLoader):
    """A YAML loader that notes duplicate keys instead of keeping the last one silently."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[tuple[int, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[object, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self.duplicates.append((line, f"{key.value} stands here and in line {seen[key.value]}"))
                seen.setdefault(key.value, line)
        return super().construct_mapping(node, deep)


def _parse(name: str, text: str) -> object:
    try:
        loader = _Loader(text)
        try:
            data = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError([f"{name}: {place}not YAML: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{name}: not YAML: {error}"]) from error
    if loader.duplicates:
        raise ConfigError([f"{name}: line {line}: {reason}" for line, reason in sorted(loader.duplicates)])
    return data
