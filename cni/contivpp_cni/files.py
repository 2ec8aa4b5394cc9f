# SPDX-License-Identifier: Apache-2.0
"""Files that appear complete or not at all: temporary file in the same directory, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int) -> str:
    """Replace `path` if it differs. The temporary name ends in nothing that a runtime would load."""
    plain = path.is_file() and not path.is_symlink()
    if plain and path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode:
        return f"unchanged {path}"
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return f"written   {path}"
