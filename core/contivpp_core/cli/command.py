# SPDX-License-Identifier: Apache-2.0
"""What a command of `contivpp` is; plugins add theirs by the hook `commands`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Command"]


@dataclass(frozen=True)
class Command:
    """A command: `configure` adds its arguments, `run` does it and returns the exit code.

    Exit codes: 0 done, 1 it could not be done, 2 the command line or a file is wrong. A `ContivError` from `run` is
    printed and ends with 1, a `ConfigError` with 2. `examples` are pairs of a command line and what it does.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    configure: Callable[[argparse.ArgumentParser], None] = field(default=lambda parser: None)
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def epilog(self) -> str:
        """The examples, as the end of the command's help."""
        if not self.examples:
            return ""
        width = max(len(line) for line, _ in self.examples)
        return "examples:\n" + "\n".join(f"  {line:<{width}}  {meaning}" for line, meaning in self.examples)
