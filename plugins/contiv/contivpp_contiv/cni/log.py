# SPDX-License-Identifier: Apache-2.0
"""The log of CNI calls: one JSON line for each, in a file of its own, rotated by size.

A network configuration may hold secrets, and so may CNI_ARGS: of both, only what is named here is written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["CniLog", "facts"]

log = logging.getLogger(__name__)

_OLD_FILES = 3
_VARIABLES = {
    "command": "CNI_COMMAND",
    "container_id": "CNI_CONTAINERID",
    "interface": "CNI_IFNAME",
    "netns": "CNI_NETNS",
}
_ARGUMENTS = {"namespace": "K8S_POD_NAMESPACE=", "pod": "K8S_POD_NAME="}
_CHARACTERS = 300


class _PrivateFile(RotatingFileHandler):
    """Rotates; only the owner reads. What cannot be written is lost: a call is served without its line."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="ascii")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        log.warning("a line of the CNI log could not be written", extra={"file": self.baseFilename}, exc_info=True)


class CniLog:
    """Writes to `path`; at `limit` bytes a new file is begun. The folder must be there, or nothing is written."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file = _PrivateFile(path, maxBytes=limit, backupCount=_OLD_FILES, delay=True)

    def write(self, environment: Mapping[str, str], code: int, answer: bytes, seconds: float) -> None:
        """Note a call, its exit code and how long it took."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **facts(environment),
            "exit": code,
            "milliseconds": round(seconds * 1e3, 1),
            **_said(code, answer),
        }
        self._file.handle(logging.LogRecord("cni", logging.INFO, "", 0, json.dumps(line), None, None))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def facts(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a log may say of a call."""
    said = {name: environment.get(variable, "") for name, variable in _VARIABLES.items()}
    for pair in environment.get("CNI_ARGS", "").split(";"):
        for name, prefix in _ARGUMENTS.items():
            if pair.startswith(prefix):
                said[name] = pair.removeprefix(prefix)
    return {name: value[:_CHARACTERS] for name, value in said.items() if value}


def _said(code: int, answer: bytes) -> dict[str, object]:
    """Return the error, or the addresses, of an answer of ours."""
    said = json.loads(answer) if answer else {}
    if code:
        return {"code": said["code"], "msg": said["msg"]}
    return {"addresses": [each["address"] for each in said["ips"]]} if said else {}
