# SPDX-License-Identifier: Apache-2.0
"""Unix sockets of the agent's servers: what a dead process left is taken over, and nobody else can open them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contivpp_core.errors import ContivError

__all__ = ["private", "take_over"]


async def take_over(path: Path, *, another: str, cure: str) -> None:
    """Make the folder, and remove a socket on which nobody listens.

    Raises ContivError for a socket in use (by `another agent runs here`, say) and for a path that is something else,
    with what to do (`cure`); OSError where the folder cannot be made or the socket not removed.
    """
    if not _is_there(path, cure):
        return
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except ConnectionRefusedError:
        os.unlink(path)
        return
    writer.close()
    raise ContivError(f"{path} is in use: {another}; stop it, or {cure}")


def _is_there(path: Path, cure: str) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        return False
    if not path.is_socket():
        raise ContivError(f"{path} is not a socket: remove it, or {cure}")
    return True


@contextmanager
def private() -> Iterator[None]:
    """Inside, sockets are born with mode 0600: there is no moment when others could open them."""
    mask = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(mask)
