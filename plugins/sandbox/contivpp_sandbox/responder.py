# SPDX-License-Identifier: Apache-2.0
"""The process of a pod: answers with its name on the pod's ports, and sends probes when it is asked to.

    python -m contivpp_sandbox.responder --socket PATH [--port TCP:8080:http …] NAME

The hosts of nodes, and those outside, have one, too, each with its name. They answer on every port: whoever is going to
probe one says so first (`open`).

TCP and UDP: `namespace/pod:port from ADDRESS`, where ADDRESS is who the client seems to be; an HTTP request gets the
same as its body. A TCP client that says nothing is answered, too, after a moment (not on a port named http or web).
Its control socket is in the file system, so it is reached from outside the pod's network: a line of JSON each way.
What probes do is in `probing`. The keeper starts it in the pod's namespaces, which live as long as it does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from contivpp_sandbox.probing import REQUEST, Watch, get_page, probe

__all__ = ["Responder", "main"]

_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ")
_WEB_NAMES = ("http", "web")
_SILENCE_SECONDS = 0.3
_HTTP_SECONDS = 10.0
_LONGEST_REQUEST = 1 << 20
_IP_PKTINFO = 8
_PACKET_INFO = struct.Struct("=i4s4s")


class Port(NamedTuple):
    """A port to answer on."""

    protocol: str
    number: int
    name: str = ""


class Responder:
    """Serves a pod's ports."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._servers: dict[tuple[str, int], asyncio.Server | _Datagrams] = {}
        self._web: set[int] = set()

    async def serve(self, ports: Sequence[Port]) -> None:
        """Answer on these ports, and on no others."""
        served = [port for port in ports if port.protocol in ("TCP", "UDP") and 0 < port.number < 65536]
        wanted = {(port.protocol, port.number) for port in served}
        self._web = {port.number for port in ports if port.name in _WEB_NAMES}
        for key in self._servers.keys() - wanted:
            self._servers.pop(key).close()
        for key in sorted(wanted - self._servers.keys()):
            self._servers[key] = await self._open(*key)

    async def open(self, protocol: str, number: int) -> None:
        """Answer on a port, too; one that another process has is answered there."""
        if (protocol, number) not in self._servers:
            with contextlib.suppress(OSError):
                self._servers[protocol, number] = await self._open(protocol, number)

    async def _open(self, protocol: str, number: int) -> asyncio.Server | _Datagrams:
        if protocol == "UDP":
            return _Datagrams(f"{self._name}:{number}", number)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connected(number, reader, writer)

        return await asyncio.start_server(connected, "0.0.0.0", number, family=socket.AF_INET, backlog=1024)

    async def _connected(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(reader, patience=_HTTP_SECONDS if number in self._web else _SILENCE_SECONDS)
            text = f"{self._name}:{number} from {writer.get_extra_info('peername')[0]}\n".encode()
            writer.write(_http(request, text) if request.startswith(_METHODS) else text)
            await writer.drain()
        except OSError:
            pass  # the client went
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Datagrams:
    """Answers datagrams from the address that they came to: a host has several, and routes would choose another."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._socket.bind(("0.0.0.0", number))
        except OSError:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Answer no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        with contextlib.suppress(OSError):  # also that of an earlier answer
            _, ancillary, _, client = self._socket.recvmsg(65536, 128)
            answer = f"{self._name} from {client[0]}\n".encode()
            self._socket.sendmsg([answer], [(*each[:2], _from(each[2])) for each in ancillary], 0, client)


def _from(received: bytes) -> bytes:
    """Return the in_pktinfo (ip(7)) of an answer: it comes from where the packet went to, by any link."""
    _, _, target = _PACKET_INFO.unpack(received)
    return _PACKET_INFO.pack(0, target, bytes(4))


async def _request(reader: asyncio.StreamReader, *, patience: float) -> bytes:
    """Return what the client says: as long as its first line announces, the head of HTTP, or until it is silent."""
    data = b""
    with contextlib.suppress(TimeoutError):
        while len(data) < _LONGEST_REQUEST and not _complete(data):
            more = await asyncio.wait_for(reader.read(65536), patience)
            if not more:
                break
            data += more
            patience = _SILENCE_SECONDS if not data.startswith(_METHODS) else _HTTP_SECONDS
    return data


def _complete(data: bytes) -> bool:
    if data.startswith(_METHODS):
        return b"\r\n\r\n" in data or b"\n\n" in data
    head, newline, _ = data.partition(b"\n")
    if newline and head.startswith(REQUEST):
        size = head[len(REQUEST) :]
        return size.isdigit() and len(data) >= int(size)
    return False


def _http(request: bytes, text: bytes) -> bytes:
    body = b"" if request.startswith(b"HEAD ") else text
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Control:
    """The control socket: `ports`, `open`, `probe`, `http`; `watch`, of which `arrival` on this connection tells."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of one connection."""
        watch = Watch()
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line, watch)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # the other side went, or sent a line without end
        finally:
            watch.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, watch: Watch) -> dict[str, Any]:
        try:
            request = json.loads(line)
            match request.pop("do"):
                case "ports":
                    await self._responder.serve([Port(*port) for port in request["ports"]])
                    return {"answer": None}
                case "open":
                    await self._responder.open(**request)
                    return {"answer": None}
                case "probe":
                    return {"answer": await probe(**request)}
                case "http":
                    return {"answer": await get_page(**request)}
                case "watch":
                    watch.begin(**request)
                    return {"answer": None}
                case "arrival":
                    return {"answer": await watch.arrival(**request)}
                case other:
                    return {"error": f"{other!r} is not served"}
        except (OSError, ValueError, LookupError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _port(text: str) -> Port:
    protocol, _, rest = text.partition(":")
    number, _, name = rest.partition(":")
    return Port(protocol, int(number), name)


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    responder = Responder(options.name)
    await responder.serve(options.port)
    os.umask(0o177)
    # Listening from the moment that the name is there, so that whoever sees it can connect.
    temporary = f"{options.socket}.new"
    server = await asyncio.start_unix_server(Control(responder).connected, temporary, limit=_LONGEST_REQUEST)
    os.rename(temporary, options.socket)
    async with server:
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a pod's process until SIGTERM."""
    parser = argparse.ArgumentParser("responder")
    parser.add_argument("name", help="namespace/pod, node:NAME, or an address")
    parser.add_argument("--socket", required=True, metavar="PATH", help="the control socket")
    parser.add_argument("--port", action="append", default=[], type=_port, metavar="PROTOCOL:NUMBER[:NAME]")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except OSError as error:
        print(f"responder {options.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
