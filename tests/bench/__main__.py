# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.bench`, from the root of the repository: run benchmarks, print a table or JSON."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.bench import add, crossing, existing, ksr, messages, outage, scale, store
from tests.bench.machine import machine
from tests.bench.result import Broken, Measured, Run, Skipped

BENCHMARKS: dict[str, Callable[[int], list[Measured]]] = {
    "add": add.one_by_one,
    "burst": add.at_once,
    "start": existing.executable_start,
    "forwarding": existing.forwarding,
    "probes": existing.probes,
    "mesh": existing.mesh,
    "crossing": crossing.crossing,
    "scale": scale.scale,
    "messages": messages.messages,
    "store": store.store,
    "ksr": ksr.ksr,
    "outage": outage.outage,
}
EXAMPLES = """examples:
  python -m tests.bench
  python -m tests.bench add burst --runs 100
  python -m tests.bench -o json --out run.json
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        "python -m tests.bench",
        description="Benchmarks, as ratios to a reference in the same run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("names", nargs="*", metavar="NAME", help=f"which (default: all): {', '.join(BENCHMARKS)}")
    result.add_argument("--runs", type=int, default=40, help="how often each single call is measured (%(default)s)")
    result.add_argument("-o", "--output", choices=["table", "json"], default="table", help="(%(default)s)")
    result.add_argument("--out", type=Path, metavar="FILE", help="write JSON here, too")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for. A missed goal is no failure: the machine may be busy."""
    command = parser()
    options = command.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        command.error(f"no benchmark is named {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    if options.runs < 2:
        command.error(f"--runs {options.runs}: a median needs 2 or more")
    run = Run(machine())
    for name in options.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr)
        try:
            run.results += BENCHMARKS[name](options.runs)
        except Skipped as reason:
            run.skipped[name] = str(reason)
        except Broken as error:
            run.broken[name] = str(error)
        except Exception as error:  # the others are still worth their time
            traceback.print_exc()
            run.broken[name] = f"{type(error).__name__}: {error}"
    if options.out is not None:
        options.out.write_text(run.json() + "\n")
    print(run.json() if options.output == "json" else run.table())
    return 1 if run.broken else 0


if __name__ == "__main__":
    sys.exit(main())
