# SPDX-License-Identifier: Apache-2.0
"""What AF_PACKET and TAP ports have in common: a file descriptor that the event loop watches.

Frames are read in vectors of up to 64 a wake-up into one buffer, so that a busy port leaves the loop to
others. When the peer, its namespace or the device is gone, the link goes down and the descriptor is no
longer watched: the kernel would report the same error for ever. Closing a device waits for the kernel's
grace periods (10 ms and more), so a thread does it; ``Dataplane.closing`` holds these threads, and creation
waits for them.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from .interfaces import Interface
    from .model import Dataplane

BATCH = 64
BUFFER_SIZE = 65536 + 64
# The descriptor still works, or will again when the device is up.
_TRANSIENT = frozenset((errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.EMSGSIZE, errno.EINVAL, errno.ENOMEM))
_LINK_DOWN = frozenset((errno.ENETDOWN, errno.EIO))


class DevicePort:
    """A port on a file descriptor; subclasses read and write."""

    input_node = ""

    def __init__(self, dataplane: Dataplane, descriptor: int) -> None:
        self.dataplane = dataplane
        self.descriptor = descriptor
        self.interface: Interface | None = None
        self._buffer = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link_up = True
        self._closed = False

    def start(self, interface: Interface) -> None:
        """Begin to receive for an interface, on the running loop."""
        self.interface = interface
        interface.port = self
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.descriptor, self._readable)
        self.dataplane.set_link_state(interface.sw_if_index, up=True)

    def read(self) -> int:
        """Read one frame into the buffer; its length."""
        raise NotImplementedError

    def write(self, frame: bytes) -> object:
        """Write one frame."""
        raise NotImplementedError

    def release(self, *, keep: bool) -> None:
        """Close the descriptor; in a thread, since the kernel takes its time."""
        raise NotImplementedError

    def _readable(self) -> None:
        frames: list[bytes] = []
        view, read = self._view, self.read
        try:
            while len(frames) < BATCH:
                frames.append(bytes(view[: read()]))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self._failed(error)
        if frames and self.interface is not None and not self._closed:
            self.dataplane.graph.receive(self.interface, frames)

    def send(self, frames: list[bytes]) -> int:
        """Write the frames; what the device does not take is lost, as on a full queue."""
        sent = 0
        write = self.write
        for frame in frames:
            try:
                write(frame)
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    self._failed(error)
                    break
            else:
                sent += 1
        if sent and not self._link_up:  # only this proves it: frames may still be read after the end
            self._set_link(up=True)
        return sent

    def _failed(self, error: OSError) -> None:
        if error.errno in _TRANSIENT:
            return
        self._set_link(up=False)
        if error.errno not in _LINK_DOWN:
            self._unwatch()

    def _set_link(self, *, up: bool) -> None:
        self._link_up = up
        if self.interface is not None and not self._closed:
            self.dataplane.set_link_state(self.interface.sw_if_index, up=up)

    def _unwatch(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.descriptor)
        self._loop = None

    def close(self, *, keep: bool = False) -> None:
        """Stop receiving and close the device; ``keep`` leaves a persistent one in the kernel."""
        if self._closed:
            return
        self._closed = True
        self._unwatch()
        closing = self.dataplane.closing

        def release() -> None:
            try:
                self.release(keep=keep)
            finally:
                closing.discard(thread)

        thread = threading.Thread(target=release, name="close-device")
        closing.add(thread)
        thread.start()


Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run in a thread of its own: it may enter another network namespace, for it ends with the work."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def finish(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("Result", result))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="host-namespace", daemon=True).start()
    return await future
