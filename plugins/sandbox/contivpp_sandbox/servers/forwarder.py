# SPDX-License-Identifier: Apache-2.0
"""A way to the API server from outside the sandbox's namespaces, like `kubectl proxy --unix-socket`.

    python -m contivpp_sandbox.servers.forwarder SOCKET ADDRESS:PORT CA CERTIFICATE KEY

Who may open the socket (mode 0600) speaks plain HTTP there, and is the owner of the certificate for the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import Sequence

__all__ = ["main"]

_BLOCK = 1 << 16
_CONNECT_SECONDS = 5.0


class Forwarder:
    """Passes on what comes; where the server does not answer, the connection ends."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._target = (host, port, context)

    async def serve(self, path: str) -> None:
        """Serve for ever."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._one, path)
        finally:
            os.umask(before)
        async with server:
            await server.serve_forever()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port, context = self._target
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                there, back = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, TimeoutError) as error:
            print(f"{host}:{port}: {error or type(error).__name__}", file=sys.stderr, flush=True)
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, back, writer), _copy(there, writer, back))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
    """Copy until either end goes; then both go, with what was read."""
    try:
        while data := await source.read(_BLOCK):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
        other.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Forward until the process is ended."""
    path, target, ca, certificate, key = arguments if arguments is not None else sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    host, _, port = target.rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Forwarder(host, int(port), context).serve(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
