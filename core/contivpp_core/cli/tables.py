# SPDX-License-Identifier: Apache-2.0
"""Tables for people: columns as wide as their widest cell, two spaces between them, no frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines of aligned columns below an upper-case heading; nothing in a cell is shown as `-`."""
    lines = [[name.upper() for name in heading]]
    lines += [["-" if cell in (None, "") else " ".join(str(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
