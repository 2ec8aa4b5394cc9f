# SPDX-License-Identifier: Apache-2.0
"""A CNI request as the executable passes it on: unparsed, untrusted, checked here.

Container IDs, interface names and paths become parts of names and keys; what the specification does not allow in
them is refused before anything is done (CNI specification, "Parameters"). A DEL is checked for what it needs and
nothing else: it must not fail over the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from contivpp_contiv.cni.codes import ErrorCode
from contivpp_core.errors import RequestError

__all__ = ["SUPPORTED_VERSIONS", "CniRequest", "parse_request", "version_of"]

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")

_SINCE = {"ADD": "0.3.1", "DEL": "0.3.1", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_OF_ATTACHMENTS = ("ADD", "DEL", "CHECK")

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_INTERFACE = re.compile(r"[^\s/:%]{1,15}")  # Linux puts a number in place of %d
_INTERFACE_BYTES = 15  # IFNAMSIZ - 1
_PATH_BYTES = 4095  # PATH_MAX - 1
_ARGUMENT_CHARACTERS = 253  # the longest name of a Kubernetes object


class CniRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request.

    GC and STATUS name no attachment; `netns` is empty for them and may be for DEL. `arguments` are the pairs of
    CNI_ARGS. `override` permits the agent's own namespace (CNI_NETNS_OVERRIDE).
    """

    command: str
    container_id: str = ""
    interface: str = ""
    netns: str = ""
    override: bool = False
    version: str
    network: str
    arguments: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def pod_namespace(self) -> str:
        """The Kubernetes namespace; "" outside Kubernetes."""
        return self.arguments.get("K8S_POD_NAMESPACE", "")

    @property
    def pod_name(self) -> str:
        """The Kubernetes name of the pod; outside Kubernetes the container's ID."""
        return self.arguments.get("K8S_POD_NAME", "") or self.container_id


def version_of(stdin: bytes) -> str:
    """Return the version in which an error is to be told: the configuration's, if it can be read and is known."""
    try:
        config = msgspec.json.decode(stdin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return SUPPORTED_VERSIONS[-1]
    version = config.get("cniVersion") if isinstance(config, dict) else None
    return version if version in SUPPORTED_VERSIONS else SUPPORTED_VERSIONS[-1]


def parse_request(environment: Mapping[str, str], stdin: bytes) -> CniRequest:
    """Check environment and configuration; raise RequestError with the specification's code."""
    config = _config(stdin)
    version, network = _version(config), _name(config)
    command = environment.get("CNI_COMMAND", "")
    since = _SINCE.get(command)
    if since is None:
        served = ", ".join(_SINCE)
        raise RequestError(
            f"CNI_COMMAND {_shown(command)} is not served: one of {served}", code=ErrorCode.INVALID_ENVIRONMENT
        )
    if SUPPORTED_VERSIONS.index(version) < SUPPORTED_VERSIONS.index(since):
        raise RequestError(
            f"cniVersion {version} has no {command}: set {since} or later in the network configuration",
            code=ErrorCode.INCOMPATIBLE_VERSION,
        )
    if command not in _OF_ATTACHMENTS:
        return CniRequest(command=command, version=version, network=network, arguments={}, config=config)
    _check_environment(environment, best_effort=command == "DEL")
    return CniRequest(
        command=command,
        container_id=environment["CNI_CONTAINERID"],
        interface=environment["CNI_IFNAME"],
        netns=environment.get("CNI_NETNS", ""),
        override=environment.get("CNI_NETNS_OVERRIDE", "").upper() in ("TRUE", "1"),
        version=version,
        network=network,
        arguments=dict(_arguments(environment.get("CNI_ARGS", ""))),
        config=config,
    )


# --- the configuration


def _config(stdin: bytes) -> dict[str, Any]:
    try:
        config = msgspec.json.decode(stdin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(
            f"the network configuration on stdin is not JSON: {error}", code=ErrorCode.DECODING_FAILURE
        ) from None
    if not isinstance(config, dict):
        raise RequestError("the network configuration on stdin is not an object", code=ErrorCode.DECODING_FAILURE)
    return config


def _version(config: Mapping[str, Any]) -> str:
    version = config.get("cniVersion", "0.1.0")  # which had no such key
    if not isinstance(version, str):
        raise RequestError(f"cniVersion: {_shown(version)} is no version", code=ErrorCode.INVALID_CONFIG)
    if version not in SUPPORTED_VERSIONS:
        raise RequestError(
            f"cniVersion {_shown(version)} is not supported: use one of {', '.join(SUPPORTED_VERSIONS)}",
            code=ErrorCode.INCOMPATIBLE_VERSION,
        )
    return version


def _name(config: Mapping[str, Any]) -> str:
    name = config.get("name")
    if not isinstance(name, str) or not _NETWORK.fullmatch(name):
        raise RequestError(
            f"name: {_shown(name)} names no network: give letters, digits, _ . - (first a letter or digit)",
            code=ErrorCode.INVALID_CONFIG,
        )
    return name


# --- the environment


def _check_environment(environment: Mapping[str, str], *, best_effort: bool) -> None:
    """Refuse what is wrong in the parameters, all at once (the error "must contain the names of invalid variables")."""
    rules: list[tuple[str, Callable[[str], bool], str]] = [
        ("CNI_CONTAINERID", _is_container_id, "must begin with a letter or digit, then also _ . -, at most 255 in all"),
        ("CNI_IFNAME", _is_interface, f"must be a name of 1 to {_INTERFACE_BYTES} bytes without space, /, : and %"),
    ]
    if not best_effort:
        rules.append(("CNI_NETNS", _is_path, "must be the absolute path of a network namespace"))
        rules.append(("CNI_ARGS", _are_arguments, "must be KEY=VALUE pairs separated by ;"))
    values = ((variable, environment.get(variable, ""), valid, rule) for variable, valid, rule in rules)
    faults = [f"{variable} {_shown(value)} {rule}" for variable, value, valid, rule in values if not valid(value)]
    if faults:
        raise RequestError("; ".join(faults), code=ErrorCode.INVALID_ENVIRONMENT)


def _is_container_id(value: str) -> bool:
    return _CONTAINER_ID.fullmatch(value) is not None


def _is_interface(value: str) -> bool:
    known = _INTERFACE.fullmatch(value) is not None and value.isprintable() and value not in (".", "..")
    return known and len(value.encode()) <= _INTERFACE_BYTES


def _is_path(value: str) -> bool:
    return value.startswith("/") and value.isprintable() and len(value.encode()) <= _PATH_BYTES


def _are_arguments(value: str) -> bool:
    """Tell whether these are pairs; they become parts of names, so control bytes are refused."""
    pairs = [pair.partition("=") for pair in value.split(";") if pair]
    return all(
        key and separator and key.isprintable() and argument.isprintable() and len(argument) <= _ARGUMENT_CHARACTERS
        for key, separator, argument in pairs
    )


def _arguments(value: str) -> Iterable[tuple[str, str]]:
    """Return the pairs of CNI_ARGS (`KEY=VALUE;…`)."""
    for pair in value.split(";"):
        if _are_arguments(pair) and pair:
            key, _, argument = pair.partition("=")
            yield key, argument


def _shown(value: object) -> str:
    """Return what was given, cut, and without what a terminal or JSON could stumble over."""
    if value is None:
        return "nothing"
    return ascii(value)[:80] if isinstance(value, str) else f"{type(value).__name__} {ascii(value)[:60]}"
