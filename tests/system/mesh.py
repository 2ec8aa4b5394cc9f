# SPDX-License-Identifier: Apache-2.0
"""Which pods reach each other: a UDP socket in each, so a hundred pairs cost a hundred datagrams and no process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping

from .processes import in_namespace


class Mesh:
    """A UDP socket in each pod; tells which pairs of pods reach each other."""

    PORT = 7000

    def __init__(self, pods: Mapping[str, str]) -> None:
        self._addresses = list(pods.values())
        self._sockets = [in_namespace(path, self._socket) for path in pods]
        self._seen: set[tuple[int, int]] = set()
        self._round = 0
        loop = asyncio.get_running_loop()
        for index, each in enumerate(self._sockets):
            loop.add_reader(each, self._receive, index)

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", self.PORT))
        made.setblocking(False)
        return made

    def _receive(self, index: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self._sockets[index].recvfrom(64)
                number, sender = map(int, data.split())
                if number == self._round and source[0] == self._addresses[sender]:
                    self._seen.add((sender, index))

    async def connected(self, seconds: float) -> float:
        """Wait until every pod has got a datagram from every other one, sent after this call; return the seconds."""
        begin = time.monotonic()
        self._round += 1
        self._seen.clear()
        everybody = range(len(self._sockets))
        missing = {(a, b) for a in everybody for b in everybody if a != b}
        while missing:
            if time.monotonic() - begin > seconds:
                raise AssertionError(f"{len(missing)} pairs not within {seconds:g} s, as {sorted(missing)[:5]}")
            for a, b in sorted(missing):
                with contextlib.suppress(OSError):
                    self._sockets[a].sendto(b"%d %d" % (self._round, a), (self._addresses[b], self.PORT))
            await asyncio.sleep(0.03)
            missing -= self._seen
        return time.monotonic() - begin

    def close(self) -> None:
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
