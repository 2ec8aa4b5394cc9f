# SPDX-License-Identifier: Apache-2.0
"""One call's work inside one namespace, in a worker thread.

rtnetlink does its work within `send`: with the kernel's one lock for all interfaces held, and a veth's
deletion waits there for 15 ms. A non-blocking socket does not change that, so nothing of it may run in
the event loop's thread. For the same reason the answers lie in the socket when `send` returns.

A batch is cut where an operation names a link that an earlier one made, moved or renamed: a piece costs
one datagram that asks for the indexes of all its links, and one with all its messages, whose
acknowledgements are matched by sequence number.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

from . import messages, offloads
from .errors import KernelError, NamespaceError
from .namespaces import NamespaceFiles
from .numbers import NamespaceNumbers
from .operations import (
    Add,
    CreateVeth,
    Delete,
    DeleteLink,
    Follow,
    MoveLink,
    Operation,
    Replace,
    SetLink,
    SetOffloads,
    SetSysctl,
    sysctl_path,
    where,
)
from .values import Address, Link, Namespace, Neighbour, Offload, Route

__all__ = ["Session"]

Value = TypeVar("Value")

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_INTERRUPTED = 0x10
_ACK_TLVS = 0x200
_SOL_NETLINK, _EXT_ACK, _CAP_ACK = 270, 11, 10
_ANSWER_SECONDS = 10  # the answers are there when `send` returns; this only bounds a defect
_PIECE = 64  # acknowledgements wait in the socket's buffer: that many fit with certainty
_DUMP_TRIES = 10
_FOLLOW_THE_LINK = frozenset({"mtu"})  # IPv6's own MTU is the link's
_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))

Answer = tuple[int, str]


class Session:
    """A netlink socket in a namespace that the calling thread has entered."""

    def __init__(self, files: NamespaceFiles, numbers: NamespaceNumbers, namespace: Namespace) -> None:
        self._files = files
        self._numbers = numbers
        self._namespace = namespace
        self._where = where(namespace)
        self._sequence = 0
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.settimeout(_ANSWER_SECONDS)

    def close(self) -> None:
        """Close the socket, which would keep the namespace alive."""
        self._socket.close()

    # Batches

    def apply(self, operations: Sequence[Operation]) -> list[KernelError | None]:
        """Run the operations in order."""
        results: list[KernelError | None] = []
        for piece in _pieces(operations):
            match piece[0]:
                case SetSysctl() as operation:
                    results.append(self._set_sysctl(operation))
                case SetOffloads() as operation:
                    results.append(self._set_offloads(operation))
                case Follow() as operation:
                    results.append(self._follow(operation))
                case _:
                    results.extend(self._apply_piece(piece))
        return results

    def _apply_piece(self, piece: Sequence[Operation]) -> list[KernelError | None]:
        indexes = self._indexes({name for operation in piece if (name := _link_of(operation))})
        results: dict[int, KernelError | None] = {}
        positions: dict[int, int] = {}
        data = bytearray()
        with ExitStack() as stack:
            for position, operation in enumerate(piece):
                index = indexes.get(_link_of(operation) or "", 0)
                if isinstance(index, KernelError):
                    results[position] = self._error(index.errno, operation, index.detail)
                    continue
                try:
                    other = self._other_namespace(operation, stack)
                    data += messages.encode(operation, self._next(), index=index, namespace=other)
                except NamespaceError as error:
                    results[position] = error
                except (OSError, ValueError, struct.error) as error:
                    results[position] = self._error(errno.EINVAL, operation, f"cannot be encoded: {error}")
                else:
                    positions[self._sequence] = position
            for sequence, (number, detail) in self._exchange(bytes(data), set(positions)).items():
                position = positions[sequence]
                results[position] = self._error(number, piece[position], detail) if number else None
        return [results[position] for position in range(len(piece))]

    def _other_namespace(self, operation: Operation, stack: ExitStack) -> int | None:
        match operation:
            case CreateVeth(peer_namespace=namespace) if namespace is not None:
                return stack.enter_context(self._files.opened(namespace))
            case MoveLink(namespace=namespace):
                return stack.enter_context(self._files.opened(namespace))
        return None

    def _indexes(self, names: set[str]) -> dict[str, int | KernelError]:
        questions = {self._next(): name for name in sorted(names)}
        data = b"".join(messages.link_request(name, sequence) for sequence, name in questions.items())
        found: dict[str, int | KernelError] = {}

        def take(sequence: int, _: int, message: bytes) -> bool:
            found[questions[sequence]] = struct.unpack_from("=i", message, _HEADER.size + 4)[0]
            return True

        answers = self._exchange(data, set(questions), take)
        for sequence, (number, detail) in answers.items():
            found[questions[sequence]] = KernelError(number, "find link", self._where, detail=detail)
        return found

    def _set_sysctl(self, operation: SetSysctl) -> KernelError | None:
        try:
            descriptor = os.open(_sysctl_file(operation.name), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, operation.value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            return self._error(error.errno or errno.EIO, operation)
        return None

    def _set_offloads(self, operation: SetOffloads) -> KernelError | None:
        try:
            for offload, on in operation.offloads:
                offloads.write(self._socket, operation.link, offload, on=on)
        except OSError as error:
            return self._error(error.errno or errno.EIO, operation)
        return None

    def _follow(self, operation: Follow) -> KernelError | None:
        try:
            with self._files.opened(self._namespace) as descriptor:
                self._numbers.follow(descriptor, self._namespace)
        except OSError as error:
            return self._error(error.errno or errno.EIO, operation)
        return None

    # Listings

    def links(self) -> list[Link]:
        """List all links, by index."""
        return sorted((messages.decode_link(data) for data in self._dump(Link)), key=lambda link: link.index)

    def addresses(self) -> list[Address]:
        """List all addresses."""
        return self._facets(Address, messages.decode_address)

    def routes(self) -> list[Route]:
        """List all routes."""
        return self._facets(Route, messages.decode_route)

    def neighbours(self) -> list[Neighbour]:
        """List permanent neighbours."""
        return self._facets(Neighbour, messages.decode_neighbour)

    def read_sysctls(self, names: Sequence[str]) -> list[str | KernelError]:
        """Read sysctls."""
        values: list[str | KernelError] = []
        for name in names:
            try:
                with open(_sysctl_file(name), encoding="ascii") as file:
                    values.append(file.read().strip())
            except OSError as error:
                values.append(KernelError(error.errno or errno.EIO, f"read sysctl {name}", self._where))
        return values

    def link_sysctls(self, link: str) -> Mapping[str, str]:
        """Read the sysctls of a link that differ from the namespace's default."""
        found: dict[str, str] = {}
        for family in ("net/ipv4/conf", "net/ipv6/conf"):
            own, default = _sysctls(f"{family}/{link}"), _sysctls(f"{family}/default")
            found |= {
                f"{family}/{link}/{name}": value.decode(errors="replace")
                for name, value in own.items()
                if name not in _FOLLOW_THE_LINK and value != default.get(name, value)
            }
        return found

    def offloads(self, link: str) -> Mapping[Offload, bool]:
        """Read the offloads of a link."""
        try:
            return {offload: offloads.read(self._socket, link, offload) for offload in Offload}
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, f"read offloads of {link}", self._where) from None

    def _facets(self, kind: type, decode: Callable[[bytes, Mapping[int, str]], Value | None]) -> list[Value]:
        # By family: asked for all, the kernel ends its list of routes early where IPv4 has no table yet.
        data = [
            item for family in _FAMILIES for item in self._dump(kind, family) if item[_HEADER.size] == family
        ]
        names = {link.index: link.name for link in self.links()} if data else {}
        return [value for item in data if (value := decode(item, names)) is not None]

    def _dump(self, kind: type, family: int = 0) -> list[bytes]:
        what = f"list {kind.__name__.lower()}s"
        for _ in range(_DUMP_TRIES):
            found: list[bytes] = []
            interrupted = False
            sequence = self._next()

            def take(_: int, flags: int, message: bytes, found: list[bytes] = found) -> bool:
                nonlocal interrupted
                interrupted = interrupted or bool(flags & _INTERRUPTED)
                found.append(message)
                return False

            answers = self._exchange(messages.dump_request(kind, family, sequence), {sequence}, take)
            number, detail = answers[sequence]
            if number:
                raise KernelError(number, what, self._where, detail=detail)
            if not interrupted:
                return found
        raise KernelError(errno.EAGAIN, what, self._where, detail="changed during every reading")

    # Netlink

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _error(self, number: int, operation: Operation, detail: str = "") -> KernelError:
        return KernelError(number, str(operation), self._where, detail=detail)

    def _exchange(
        self,
        data: bytes,
        waiting: set[int],
        take: Callable[[int, int, bytes], bool] | None = None,
    ) -> dict[int, Answer]:
        """Send, and read until each sequence number was answered: by an acknowledgement, or by `take`
        returning True.
        """
        answers: dict[int, Answer] = {}
        if not waiting:
            return answers
        self._socket.send(data)
        while waiting:
            for sequence, code, flags, message in _split(self._socket.recv(1 << 18)):
                if sequence not in waiting:
                    continue
                if code in (_ERROR, _DONE):
                    answers[sequence] = _answer(code, flags, message)
                    waiting.discard(sequence)
                elif take is not None and take(sequence, flags, message):
                    waiting.discard(sequence)
        return answers


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, code, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield sequence, code, flags, data[offset : offset + length]
        offset += (length + 3) & ~3


def _answer(code: int, flags: int, message: bytes) -> Answer:
    """Return error number and the kernel's own words; both end a dump or acknowledge a message."""
    number = -struct.unpack_from("=i", message, _HEADER.size)[0] if len(message) >= _HEADER.size + 4 else 0
    detail = ""
    if code == _ERROR and flags & _ACK_TLVS:
        offset = _HEADER.size + 4 + _HEADER.size
        while offset + _ATTRIBUTE.size <= len(message):
            length, kind = _ATTRIBUTE.unpack_from(message, offset)
            if kind == 1:
                detail = (
                    message[offset + _ATTRIBUTE.size : offset + length].rstrip(b"\0").decode(errors="replace")
                )
            offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return number, detail


def _sysctls(folder: str) -> dict[str, bytes]:
    """Read all sysctls of a folder that can be read; none where IPv6 is not there, or the link."""
    values: dict[str, bytes] = {}
    with suppress(OSError):
        for name in os.listdir(f"/proc/sys/{folder}"):
            with suppress(OSError):
                descriptor = os.open(f"/proc/sys/{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    values[name] = os.read(descriptor, 1 << 12).strip()
                finally:
                    os.close(descriptor)
    return values


def _sysctl_file(name: str) -> str:
    path = sysctl_path(name)
    if path is None:
        raise OSError(errno.EINVAL, "no sysctl below net")
    return f"/proc/sys/{path}"


def _link_of(operation: Operation) -> str | None:
    """Return the link whose index the operation's message carries."""
    match operation:
        case DeleteLink(link=link) | MoveLink(link=link) | SetLink(link=link):
            return link
        case Add(value=value) | Replace(value=value) | Delete(value=value):
            return value.link
    return None


def _touched(operation: Operation) -> set[str]:
    """Return the names that may mean another link afterwards."""
    match operation:
        case CreateVeth(name=name, peer_name=peer):
            return {name, peer}
        case DeleteLink(link=link):
            return {link}
        case MoveLink(link=link, name=name):
            return {link, name or link}
        case SetLink(link=link, name=str() as name):
            return {link, name}
    return set()


def _pieces(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    piece: list[Operation] = []
    touched: set[str] = set()
    for operation in operations:
        alone = isinstance(operation, SetSysctl | SetOffloads | Follow)
        if piece and (alone or _link_of(operation) in touched or len(piece) == _PIECE):
            yield piece
            piece, touched = [], set()
        piece.append(operation)
        touched |= _touched(operation)
        if isinstance(operation, DeleteLink):
            alone = True  # its peer, whatever its name, is gone too
        if alone:
            yield piece
            piece, touched = [], set()
    if piece:
        yield piece
