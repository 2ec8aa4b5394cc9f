# SPDX-License-Identifier: Apache-2.0
"""Columns as VPP prints them: text too long for its column is cut, and centred text leans to the right."""

from __future__ import annotations


def column(text: object, width: int, justify: str = "=") -> str:
    """One cell; justify is '-' (left), '+' (right) or '=' (centred)."""
    cell = str(text)[:width]
    missing = width - len(cell)
    left = {"-": 0, "+": missing, "=": (missing + 1) // 2}[justify]
    return " " * left + cell + " " * (missing - left)


def row(*cells: tuple[object, int]) -> str:
    """Centred cells one after the other."""
    return "".join(column(text, width) for text, width in cells)
