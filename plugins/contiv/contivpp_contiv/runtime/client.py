# SPDX-License-Identifier: Apache-2.0
"""The CRI's client: a connection for each comparison, as these are minutes apart. Imports grpc, so it is imported late.

An answer counts only as a whole: what cannot be decoded, or has a sandbox without an ID or twice, is a fault.
"""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would print on stderr is in the errors
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # children of the agent use no grpc

import grpc
from google.protobuf.message import DecodeError

from contivpp_contiv.runtime.errors import NoCri, NoSandbox, RuntimeFault
from contivpp_contiv.runtime.messages import SERVICE, message
from contivpp_contiv.runtime.verdict import Sandbox

__all__ = ["CriClient"]

CALL_SECONDS = 10.0
MOST_BYTES = 16 << 20  # of an answer, as the kubelet has it
READY = 0  # PodSandboxState.SANDBOX_READY
NODE = 2  # NamespaceMode.NODE
_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a new connection each time, without the pauses of an old one
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


class CriClient:
    """A connection with the runtime at a unix socket; every call raises RuntimeFault."""

    def __init__(self, socket: str, *, seconds: float = CALL_SECONDS) -> None:
        self._socket, self._seconds = socket, seconds
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)

    async def __aenter__(self) -> CriClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def version(self) -> str:
        """Return the runtime's name and version."""
        told = await self._call("Version")
        return f"{told.runtime_name} {told.runtime_version}".strip()[:100]

    async def sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes, whatever their state."""
        items = (await self._call("ListPodSandbox")).items
        found = [
            Sandbox(id=each.id, namespace=each.metadata.namespace, name=each.metadata.name, ready=each.state == READY)
            for each in items
        ]
        ids = {sandbox.id for sandbox in found}
        if len(ids) != len(found) or "" in ids:
            raise RuntimeFault(f"{self._socket}: the runtime lists sandboxes without an ID, or twice")
        return found

    async def addresses(self, sandbox: str) -> list[str]:
        """Return the addresses of a sandbox; none, where it has the node's network, or is not ready any more."""
        try:
            status = (await self._call("PodSandboxStatus", pod_sandbox_id=sandbox)).status
        except NoSandbox:
            return []
        if status.id != sandbox or status.state != READY or status.linux.namespaces.options.network == NODE:
            return []
        return [ip for ip in (status.network.ip, *(each.ip for each in status.network.additional_ips)) if ip]

    async def _call(self, method: str, **fields: str) -> Any:
        call = self._channel.unary_unary(SERVICE + method)
        try:
            answer = await call(message(f"{method}Request")(**fields).SerializeToString(), timeout=self._seconds)
            return message(f"{method}Response").FromString(answer)  # grpc.aio itself would make None of what it cannot
        except grpc.aio.AioRpcError as error:
            raise self._fault(error) from None
        except DecodeError:
            raise RuntimeFault(f"{self._socket}: the answer to {method} cannot be read: is it a runtime's?") from None

    def _fault(self, error: grpc.aio.AioRpcError) -> RuntimeFault:
        text = re.sub(r"\s+", " ", error.details() or "").strip()[:300]
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return NoCri(f"{self._socket}: what listens there does not serve the CRI, version v1 ({text})")
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return NoSandbox(f"{self._socket}: {text}")
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return RuntimeFault(f"{self._socket}: the runtime gives no answer within {self._seconds:g} s")
        return RuntimeFault(f"{self._socket}: {text.rpartition('last error: ')[2] or error.code().name}")
