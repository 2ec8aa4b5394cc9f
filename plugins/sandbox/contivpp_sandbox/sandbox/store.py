# SPDX-License-Identifier: Apache-2.0
"""The cluster's store: one process for all nodes, and what the sandbox writes there in place of API server and ksr."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from contivpp_core.cluster import NODES, decode_node, object_key
from contivpp_core.errors import ContivError
from contivpp_core.kvstore import DeleteKey, KVStoreError, PutKey
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_sandbox.rigs.base import KubernetesObject, ObjectReference
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.keeper_client import KeeperClient

__all__ = ["PROCESS", "ClusterStore", "object_delete", "object_put"]

PROCESS = "store"
"""What the keeper calls the process."""

T = TypeVar("T")

_START_SECONDS = 20.0
_POLL_SECONDS = 0.01


def object_put(reference: ObjectReference, found: KubernetesObject) -> PutKey:
    """Return the write of an object as the API server shows it."""
    return PutKey(object_key(*reference), json.dumps(found, default=str).encode())


def object_delete(reference: ObjectReference) -> DeleteKey:
    """Return the write that removes an object."""
    return DeleteKey(object_key(*reference))


class ClusterStore:
    """The store's process, and a client of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._keeper = KeeperClient(directory)
        self._client: EmbeddedStore | None = None

    async def start(self) -> None:
        """Start the process, and wait until it serves."""
        socket, file = self._directory.store_socket, str(self._directory.store_file)
        words = [sys.executable, "-m", "contivpp_datastore.embedded.server", "--socket", socket, "--file", file]
        process = await self._keeper.start(PROCESS, words)
        end = asyncio.get_running_loop().time() + _START_SECONDS
        while not os.path.exists(socket):  # noqa: ASYNC240 (a socket beside us, in memory)
            if not process.alive or asyncio.get_running_loop().time() > end:
                said = self._directory.log_end(PROCESS)
                raise SandboxError(f"the cluster's store does not start; its output ends with:\n{said}")
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def client(self) -> EmbeddedStore:
        """The client; it connects when it is used."""
        if self._client is None:
            self._client = EmbeddedStore(self._directory.store_socket)
        return self._client

    async def write(self, writes: Iterable[PutKey | DeleteKey]) -> None:
        """Write all of it as one revision."""
        some = tuple(writes)
        if some:
            await self._ask(self.client.transaction((), some))

    async def revision(self) -> int:
        """Return the revision that the store has now."""
        return (await self._ask(self.client.list(NODES))).revision

    async def vpp_addresses(self) -> dict[str, str]:
        """Return VPP's address of each node that has published one, by the node's name, without prefix length."""
        found = {}
        for item in (await self._ask(self.client.list(NODES))).items:
            try:
                node = decode_node(item.key, item.value)
            except ContivError as error:
                raise SandboxError(str(error)) from error
            if node.vpp_addresses:
                found[node.name] = node.vpp_addresses[0].partition("/")[0]
        return found

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        try:
            return await question
        except KVStoreError as error:
            raise SandboxError(f"the cluster's store: {error}: see 'contivpp sandbox status'") from error
