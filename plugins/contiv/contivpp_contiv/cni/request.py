# SPDX-License-Identifier: Apache-2.0
"""A CNI request as the executable passes it on: unparsed, untrusted, checked here.

Container IDs, interface names and paths become parts of names and keys; what the specification does not allow in
them is refused before anything is done (CNI specification, "Parameters").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from contivpp_core.errors import RequestError

__all__ = ["SUPPORTED_VERSIONS", "CniRequest", "ErrorCode", "parse_request", "version_of"]

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")

CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}")
INTERFACE = re.compile(r"[^\s/:\0]{1,15}")
PATH_BYTES = 4095  # PATH_MAX - 1


class ErrorCode:
    """Error codes of the CNI specification ("Error")."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11


class CniRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. `netns` is empty only for DEL; `arguments` are the pairs of CNI_ARGS."""

    command: str
    container_id: str
    interface: str
    netns: str
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
    version = config.get("cniVersion", "0.1.0")
    if version not in SUPPORTED_VERSIONS:
        raise RequestError(
            f"cniVersion {version!r} is not supported: use one of {', '.join(SUPPORTED_VERSIONS)}",
            code=ErrorCode.INCOMPATIBLE_VERSION,
        )
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise RequestError("name: the network configuration must have a name", code=ErrorCode.INVALID_CONFIG)
    command = environment.get("CNI_COMMAND", "")
    if command not in ("ADD", "DEL", "CHECK", "STATUS"):
        raise RequestError(f"CNI_COMMAND {command[:80]!r} is not served", code=ErrorCode.INVALID_ENVIRONMENT)
    if command == "ADD" and "prevResult" in config:
        raise RequestError(
            "prevResult: this plugin must be the first of its chain", code=ErrorCode.UNSUPPORTED_FIELD
        )
    return CniRequest(
        command=command,
        container_id="" if command == "STATUS" else _container_id(environment.get("CNI_CONTAINERID", "")),
        interface="" if command == "STATUS" else _interface(environment.get("CNI_IFNAME", "")),
        netns=_netns(environment.get("CNI_NETNS", ""), required=command in ("ADD", "CHECK")),
        version=version,
        network=name,
        arguments=_arguments(environment.get("CNI_ARGS", "")),
        config=config,
    )


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


def _container_id(value: str) -> str:
    if not CONTAINER_ID.fullmatch(value):
        raise _environment("CNI_CONTAINERID", value, "must begin with a letter or digit, then also _ . -")
    return value


def _interface(value: str) -> str:
    if not INTERFACE.fullmatch(value) or value in (".", "..") or len(value.encode(errors="replace")) > 15:
        raise _environment("CNI_IFNAME", value, "must be a name of 1 to 15 bytes without space, / and :")
    return value


def _netns(value: str, *, required: bool) -> str:
    if not value and not required:
        return ""
    if not value.startswith("/") or "\0" in value or len(value.encode(errors="replace")) > PATH_BYTES:
        raise _environment("CNI_NETNS", value, "must be the absolute path of a network namespace")
    return value


def _arguments(value: str) -> dict[str, str]:
    """Return the pairs of CNI_ARGS (`KEY=VALUE;…`); they become parts of names, so control bytes are refused."""
    arguments: dict[str, str] = {}
    for pair in filter(None, value.split(";")):
        key, separator, argument = pair.partition("=")
        if not separator or not key or not argument.isprintable() or len(argument) > 253:
            raise _environment("CNI_ARGS", pair, "must be KEY=VALUE pairs separated by ;")
        arguments[key] = argument
    return arguments


def _environment(variable: str, value: str, rule: str) -> RequestError:
    return RequestError(f"{variable} {value[:80]!r} {rule}", code=ErrorCode.INVALID_ENVIRONMENT)
