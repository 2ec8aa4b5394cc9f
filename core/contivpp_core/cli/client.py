# SPDX-License-Identifier: Apache-2.0
"""A client of the agent's local API, on the standard library: a command must start quickly."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from contivpp_core.errors import ConfigError, ContivError

__all__ = ["DEFAULT_SOCKET", "Client", "default_socket"]

DEFAULT_SOCKET = "/run/contivpp/agent.sock"


def default_socket() -> str:
    """Return the socket that `CONTIVPP_SOCKET` names, or the usual one."""
    return os.environ.get("CONTIVPP_SOCKET") or DEFAULT_SOCKET


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Asks the agent behind a unix socket."""

    def __init__(self, path: str | None = None, *, timeout: float = 10.0) -> None:
        self.path = path or default_socket()
        self._timeout = timeout

    def get(self, *path: str, query: Mapping[str, object] | None = None) -> Any:
        """GET `/path/…` and return the decoded answer; an error is told in people's words."""
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        return self._ask("GET", _target(path) + (f"?{urlencode(given)}" if given else ""))

    def post(self, *path: str, body: Any) -> Any:
        """POST JSON to `/path/…` and return the decoded answer; what JSON does not know becomes text."""
        return self._ask("POST", _target(path), json.dumps(body, default=str).encode())

    def _ask(self, method: str, target: str, body: bytes | None = None) -> Any:
        connection = _UnixConnection(self.path, self._timeout)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return self._decoded(response.status, response.read(), target)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise ContivError(
                f"the agent is not running: nobody serves the socket {self.path}; "
                "start it by 'contivpp agent', or name its socket by --socket (or CONTIVPP_SOCKET)"
            ) from error
        except PermissionError as error:
            raise ContivError(
                f"the socket {self.path} is not open to you: run this command as the agent's user (root)"
            ) from error
        except TimeoutError as error:
            raise ContivError(
                f"the agent behind {self.path} did not answer within {self._timeout:g} s: look at its log"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ContivError(
                f"the agent behind {self.path} did not answer: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()

    def _decoded(self, status: int, body: bytes, target: str) -> Any:
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise ContivError(
                f"what answers at {self.path} is no agent: {target} gave status {status}"
            ) from error
        if isinstance(answer, dict) and "faults" in answer and status >= 400:
            raise ConfigError(answer["faults"])
        if status >= 400:
            reason = answer.get("error", body.decode()) if isinstance(answer, dict) else body.decode()
            raise ContivError(f"the agent refused {target}: {reason}")
        return answer


def _target(path: tuple[str, ...]) -> str:
    return "/" + "/".join(quote(part, safe="") for part in path)
