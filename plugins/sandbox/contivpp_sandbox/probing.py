# SPDX-License-Identifier: Apache-2.0
"""Probes from the network namespace of the process: send, wait, say what came of it.

A probe is tried up to four times, one second apart (in TCP the kernel does that), before it counts as denied. A
refusal is an answer: a reset, or an ICMP error about the probe; also that a packet, which must not be fragmented, is
larger than a link on its way takes. That this host itself gets no answer to ARP is none. `Watch` is the other side of
it: who sent the first packet of a kind that came in here, which is all that tells of a packet that nothing answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["ATTEMPTS", "REQUEST", "Watch", "get_page", "probe"]

REQUEST = b"contivpp-probe "
"""What a TCP request begins with; the number of its bytes and a newline follow, then filling."""

ATTEMPTS = 4
RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.005
DEFAULT_SIZE = {"TCP": 24, "UDP": 16, "ICMP": 56}

_ECHO_REPLY, _UNREACHABLE, _ECHO_REQUEST, _TIME_EXCEEDED = 0, 3, 8, 11
_FRAGMENTATION_NEEDED = 4  # a code of _UNREACHABLE (RFC 1191)
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_DO, _IP_PMTUDISC_PROBE = 10, 0, 2, 3
_IP_RECVERR, _IP_MTU, _FROM_ICMP = 11, 14, 2
_EXTENDED_ERROR = struct.Struct("=IBBBxII2x2x4s")
"""sock_extended_err: errno, origin, type, code, info (the MTU), data; then the address of who sent the ICMP error."""
_ACK, _PSH, _SYN, _RST = 0x10, 0x08, 0x02, 0x04
_REFUSALS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOPROTOOPT)
_PROTOCOLS = {"ICMP": socket.IPPROTO_ICMP, "TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP}
_identifiers = itertools.count(random.randrange(0x8000))

Result = dict[str, Any]


async def probe(
    *,
    protocol: str,
    address: str,
    port: int = 0,
    source_port: int = 0,
    size: int | None = None,
    do_not_fragment: bool = False,
    one_way: bool = False,
    attempts: int = ATTEMPTS,
) -> Result:
    """Send a probe; return `verdict` (allowed, denied, refused), `answer`, `why`, and `ms`, how long it took."""
    begin = time.perf_counter()
    length = DEFAULT_SIZE[protocol] if size is None else size
    with _socket(protocol, do_not_fragment=do_not_fragment, raw=one_way) as sock:
        try:
            if one_way:
                await _send_stray(sock, protocol, (address, port), source_port=source_port, size=length)
                return {"verdict": "denied", "answer": "", "why": "one way: nothing tells of its arrival"}
            if protocol != "ICMP":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("0.0.0.0", source_port))
            ask = {"TCP": _tcp, "UDP": _udp, "ICMP": _echo}[protocol]
            answer = await ask(sock, (address, port), length, attempts)
        except TimeoutError:
            return {"verdict": "denied", "answer": "", "why": f"no answer from {address} within {attempts:g} s"}
        except OSError as error:
            return _failed(sock, error, address, length)
    milliseconds = answer[1] if answer[1] is not None else (time.perf_counter() - begin) * 1000
    return {"verdict": "allowed", "answer": answer[0], "why": "", "ms": round(milliseconds, 3)}


class _Refused(OSError):
    """An ICMP error came in answer to a probe."""


def _failed(sock: socket.socket, error: OSError, address: str, size: int) -> Result:
    """Say what an error means. The kernel tells of ARP without an answer by an ICMP error from itself to itself."""
    sender, mtu = _queued(sock)
    own = sender is not None and sender == _own_address(sock)
    if error.errno == errno.EHOSTUNREACH and own:
        return {"verdict": "denied", "answer": "", "why": "no answer to ARP: nobody on the link has the address"}
    why = _told(error, size)
    if error.errno == errno.EMSGSIZE:
        if not isinstance(error, _Refused):
            where = f", as {sender} said" if sender and not own else ""
            why += f"; the largest packet has {mtu or _path_mtu(address)} bytes{where}"
        return {"verdict": "refused", "answer": "", "why": why}
    refused = error.errno in _REFUSALS and (error.errno != errno.ENETUNREACH or isinstance(error, _Refused) or sender)
    return {"verdict": "refused" if refused else "denied", "answer": "", "why": why}


def _queued(sock: socket.socket) -> tuple[str | None, int]:
    """Return who sent the last ICMP error about this socket (None: nobody), and the MTU that an error told, or 0."""
    sender, mtu = None, 0
    with contextlib.suppress(OSError):
        while True:
            _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            for level, kind, data in ancillary:
                if (level, kind) == (socket.IPPROTO_IP, _IP_RECVERR) and len(data) >= _EXTENDED_ERROR.size:
                    number, origin, _, _, info, _, address = _EXTENDED_ERROR.unpack_from(data)
                    sender = socket.inet_ntoa(address) if origin == _FROM_ICMP else sender
                    mtu = info if number == errno.EMSGSIZE else mtu
    return sender, mtu


def _path_mtu(address: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect((address, 9))
        return asked.getsockopt(socket.IPPROTO_IP, _IP_MTU)


def _own_address(sock: socket.socket) -> str:
    with contextlib.suppress(OSError):
        return str(sock.getsockname()[0])
    return ""


def _told(error: OSError, size: int) -> str:
    if error.errno == errno.EMSGSIZE and not isinstance(error, _Refused):
        return f"a packet of {size} bytes of payload is larger than the MTU, and must not be fragmented"
    if isinstance(error, _Refused) or not error.errno or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)  # the event loop puts more in its texts than the kernel has said


def _socket(protocol: str, *, do_not_fragment: bool, raw: bool) -> socket.socket:
    kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}.get(protocol, socket.SOCK_RAW)
    if raw and protocol == "TCP":
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    else:
        sock = socket.socket(socket.AF_INET, kind, _PROTOCOLS[protocol])
    sock.setblocking(False)
    if kind != socket.SOCK_RAW and not raw:  # a raw socket would get the errors of all others
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    if protocol != "TCP":
        # PROBE, so that what this host learnt of the path before does not keep a packet from being sent.
        way = _IP_PMTUDISC_PROBE if do_not_fragment else _IP_PMTUDISC_DONT
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, way)
    elif do_not_fragment:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
    return sock


# --- TCP and UDP


async def _tcp(sock: socket.socket, end: tuple[str, int], size: int, attempts: int) -> tuple[str, None]:
    loop = asyncio.get_running_loop()
    head = REQUEST + b"%d\n" % size
    data = head.ljust(size, b".")[:size]
    async with asyncio.timeout(attempts * RETRY_SECONDS):
        await loop.sock_connect(sock, end)
        await loop.sock_sendall(sock, data)
        answer = b""
        while more := await loop.sock_recv(sock, 65536):
            answer += more
    return answer.decode("utf-8", "replace").strip(), None


async def _udp(sock: socket.socket, end: tuple[str, int], size: int, attempts: int) -> tuple[str, None]:
    loop = asyncio.get_running_loop()
    sock.connect(end)
    for _ in range(attempts):
        sock.send(bytes(size))
        with contextlib.suppress(TimeoutError):
            answer = await asyncio.wait_for(loop.sock_recv(sock, 65536), RETRY_SECONDS)
            return answer.decode("utf-8", "replace").strip(), None
    raise TimeoutError


async def get_page(*, address: str, port: int, path: str = "/", seconds: float = ATTEMPTS * RETRY_SECONDS) -> Result:
    """GET a page; return `status`, `body` and `ms`, or `error`."""
    begin = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(-1)).decode("utf-8", "replace").partition("\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError:
        return {"error": f"no answer from {address}:{port} within {seconds:g} s"}
    except OSError as error:
        return {"error": _told(error, 0)}
    milliseconds = (time.perf_counter() - begin) * 1000
    return {"status": head.partition("\r\n")[0], "body": body, "ms": round(milliseconds, 3)}


# --- ICMP


async def _echo(sock: socket.socket, end: tuple[str, int], size: int, attempts: int) -> tuple[str, float]:
    identifier = next(_identifiers) & 0xFFFF
    payload = os.urandom(min(size, 8)).ljust(size, b".")
    for sequence in range(1, attempts + 1):
        begin = time.perf_counter()
        await _send(sock, _icmp(_ECHO_REQUEST, identifier, sequence, payload), end[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await _reply(sock, identifier, payload)
                return "", (time.perf_counter() - begin) * 1000
    raise TimeoutError


async def _reply(sock: socket.socket, identifier: int, payload: bytes) -> None:
    """Wait for the reply to an echo request; raise _Refused for an ICMP error about it."""
    loop = asyncio.get_running_loop()
    while True:
        packet = await loop.sock_recv(sock, 65536)
        message = _payload(packet)
        if len(message) < 8:
            continue
        kind, code = message[0], message[1]
        if kind == _ECHO_REPLY and message[4:6] == identifier.to_bytes(2, "big") and message[8:] == payload:
            return
        if kind in (_UNREACHABLE, _TIME_EXCEEDED):
            quoted = _payload(message[8:])
            if quoted[:1] != bytes((_ECHO_REQUEST,)) or quoted[4:6] != identifier.to_bytes(2, "big"):
                continue
            if packet[12:16] == packet[16:20]:  # from this host to itself: nobody answers ARP
                raise TimeoutError
            raise _icmp_error(kind, code, message, socket.inet_ntoa(packet[12:16]))


def _icmp_error(kind: int, code: int, message: bytes, sender: str) -> _Refused:
    if (kind, code) == (_UNREACHABLE, _FRAGMENTATION_NEEDED):
        mtu = int.from_bytes(message[6:8], "big")
        return _Refused(errno.EMSGSIZE, f"ICMP fragmentation needed: the largest packet has {mtu} bytes, said {sender}")
    name = "destination unreachable" if kind == _UNREACHABLE else "time exceeded"
    return _Refused(errno.EHOSTUNREACH, f"ICMP {name}, code {code}, from {sender}")


def _icmp(kind: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + payload
    return message[:2] + _checksum(message).to_bytes(2, "big") + message[4:]


def _payload(packet: bytes) -> bytes:
    return packet[(packet[0] & 0xF) * 4 :] if packet else b""


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def _send(sock: socket.socket, data: bytes, address: str) -> None:
    await asyncio.get_running_loop().sock_sendto(sock, data, (address, 0))


# --- packets that belong to no flow


async def _send_stray(
    sock: socket.socket, protocol: str, end: tuple[str, int], *, source_port: int, size: int
) -> None:
    address, port = end
    own_port = source_port or random.randrange(32768, 61000)
    if protocol == "UDP":
        sock.bind(("0.0.0.0", source_port))
        await asyncio.get_running_loop().sock_sendto(sock, bytes(size), (address, port))
    elif protocol == "ICMP":
        await _send(sock, _icmp(_ECHO_REQUEST, own_port, 1, bytes(size)), address)
    else:
        await _send(sock, _segment(address, own_port, port, bytes(size)), address)


def _segment(address: str, source_port: int, port: int, data: bytes) -> bytes:
    """Return a TCP segment in the middle of a connection that there is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:  # which address the kernel will send from
        asked.connect((address, port))
        source = socket.inet_aton(asked.getsockname()[0])
    header = struct.pack("!HHIIBBHHH", source_port, port, 0x20000000, 0x20000000, 5 << 4, _ACK | _PSH, 0xFFFF, 0, 0)
    pseudo = source + socket.inet_aton(address) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header) + len(data))
    return header[:16] + _checksum(pseudo + header + data).to_bytes(2, "big") + header[18:] + data


class Watch:
    """Sees the packets of one protocol that come in, from `begin` on."""

    def __init__(self) -> None:
        self._protocol = ""
        self._socket: socket.socket | None = None

    def begin(self, protocol: str) -> None:
        """Watch TCP, UDP or ICMP."""
        self.close()
        self._protocol = protocol
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, _PROTOCOLS[protocol])
        self._socket.setblocking(False)

    def close(self) -> None:
        """Watch no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def arrival(self, wait: float = 0.0) -> Result | None:
        """Return `address` and `port` of a client's next packet, or None if none came, at most `wait` seconds from now.

        In TCP that is the beginning of a connection, or a segment that belongs to none; in ICMP an echo request.
        """
        if self._socket is None:
            raise ValueError("nothing is watched")
        end = time.monotonic() + wait
        while True:
            try:
                packet = self._socket.recv(65536)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return None
                await asyncio.sleep(_POLL_SECONDS)
                continue
            source = ipaddress.IPv4Address(packet[12:16])
            for port in _asked(self._protocol, _payload(packet)):
                if not source.is_loopback:
                    return {"address": str(source), "port": port}


def _asked(protocol: str, message: bytes) -> Iterator[int]:
    """Yield the port that a client's packet asks for (0 in ICMP), or nothing if it is no client's."""
    if protocol == "ICMP":
        if message[:1] == bytes((_ECHO_REQUEST,)):
            yield 0
    elif len(message) >= 8:
        (port,) = struct.unpack_from("!2xH", message)
        flags = message[13] if protocol == "TCP" and len(message) > 13 else 0
        if not flags & _RST and not (flags & _SYN and flags & _ACK):
            yield port
