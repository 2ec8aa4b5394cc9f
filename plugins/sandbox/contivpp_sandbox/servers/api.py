# SPDX-License-Identifier: Apache-2.0
"""Plain HTTP to an API server: objects are created, applied, changed and deleted as kubectl does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import yaml

from contivpp_ksr.resources import RESOURCES
from contivpp_sandbox.sandbox.errors import SandboxError

__all__ = ["Api", "ApiRefused", "list_path", "object_path"]

_SECONDS = 30.0
_MANAGER = "contivpp-sandbox"


class ApiRefused(SandboxError):
    """The server refused a request, as the message tells in its words; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def list_path(kind: str, namespace: str = "", version: str = "") -> str:
    """Return the path of a list: of all namespaces, or of one. Of a kind that is not reflected, `version` is needed."""
    if version:
        lower = kind.lower()
        plural = f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    else:
        base, _, plural = RESOURCES[kind].path.rpartition("/")
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def object_path(kind: str, namespace: str, name: str) -> str:
    """Return the path of an object."""
    return f"{list_path(kind, namespace)}/{name}"


def _list_of(found: Mapping[str, Any]) -> str:
    return list_path(found["kind"], found["metadata"].get("namespace", ""), found["apiVersion"])


class Api:
    """An API server. `path` is that of a list, an object's is one word longer. Raises ApiRefused, SandboxError."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    def over(cls, socket: str) -> Api:
        """Return one that is asked over a unix socket."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.UnixConnector(socket, force_close=True)
        return cls(aiohttp.ClientSession("http://apiserver", connector=connector, timeout=timeout))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def call(
        self, method: str, path: str, found: Any = None, *, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Send a request; return the status and the answer."""
        data = None if found is None else json.dumps(found, default=str)
        try:
            async with self._session.request(method, path, data=data, headers={"Content-Type": kind}) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise SandboxError(f"the API server does not answer ({method} {path}: {reason})") from error
        try:
            return status, json.loads(body or b"null")
        except json.JSONDecodeError:
            return status, body.decode(errors="replace")

    async def _good(self, method: str, path: str, found: Any = None, *, kind: str = "application/json") -> Any:
        status, answer = await self.call(method, path, found, kind=kind)
        if status < 300:
            return answer
        told = answer.get("message", answer) if isinstance(answer, Mapping) else answer
        raise ApiRefused(f"the API server refuses {method} {path}: {status}: {told}", status)

    async def get(self, path: str) -> Any:
        """Return an object, or a list."""
        return await self._good("GET", path)

    async def create(self, path: str, found: Any) -> Any:
        """Create an object; one that is there is changed."""
        status, answer = await self.call("POST", path, found)
        if status == 409:
            return await self.merge(f"{path}/{found['metadata']['name']}", found)
        if status < 300:
            return answer
        raise ApiRefused(f"the API server refuses POST {path}: {status}: {answer}", status)

    async def merge(self, path: str, found: Any) -> Any:
        """Change an object by a merge patch."""
        return await self._good("PATCH", path, found, kind="application/merge-patch+json")

    async def put_applied(self, found: Mapping[str, Any]) -> Any:
        """Create an object, or make it as this one is (server-side apply)."""
        path = f"{_list_of(found)}/{found['metadata']['name']}?fieldManager={_MANAGER}&force=true"
        return await self._good("PATCH", path, found, kind="application/apply-patch+yaml")

    async def delete(self, path: str, *, grace: int | None = 0) -> None:
        """Delete an object; none is no error. `grace` in seconds; None: what the object says."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            await self._good("DELETE", path, options)
        except ApiRefused as error:
            if error.status != 404:
                raise

    async def apply(self, text: str) -> None:
        """Create all objects of a YAML text."""
        for found in yaml.safe_load_all(text):
            if found:
                await self.create(_list_of(found), found)

    async def all(self, path: str, objects: Iterable[Any], *, at_once: int = 20) -> None:
        """Create many objects."""
        gate = asyncio.Semaphore(at_once)

        async def one(found: Any) -> None:
            async with gate:
                await self.create(path.format(namespace=found["metadata"].get("namespace")), found)

        await asyncio.gather(*(one(found) for found in objects))
