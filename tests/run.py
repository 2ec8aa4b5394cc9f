# SPDX-License-Identifier: Apache-2.0
"""Runs the tests, as `make test` does: `python -m tests.run [pytest's arguments]`.

Root runs them as they are. For an ordinary user, those that need network namespaces run in a user namespace, in which
the user is root. Only the sandbox, which makes its user namespaces itself, is tested from outside. Where user
namespaces are off, everything runs as it is, and what cannot be tested is skipped with the reason.

All tests, as opposed to those of a path that is named, run in several processes, file by file: most of their time they
wait for processes of their own, so there is one more than there are cores.
"""

from __future__ import annotations

import os
import subprocess
import sys

from contivpp_sandbox.sandbox.errors import NamespacesRefused
from contivpp_sandbox.sandbox.namespaces import make_node_namespaces, mount_tmpfs

OUTSIDE = ["plugins/sandbox", "tests/test_scenarios.py"]
MOST_WORKERS = 4
NO_TESTS = 5  # pytest's exit code when nothing was selected


def main() -> int:
    """Run pytest, once or twice; return its exit code."""
    arguments = sys.argv[1:]
    if any(not argument.startswith("-") for argument in arguments):
        return _pytest(arguments)
    if not any(argument.startswith("-n") for argument in arguments):
        workers = str(min(MOST_WORKERS, len(os.sched_getaffinity(0)) + 1))
        arguments = [*arguments, f"-n{workers}", "--dist=loadfile", "--no-loadscope-reorder"]
    if os.geteuid() == 0:
        return _pytest(arguments)
    outside = _pytest([*arguments, *OUTSIDE])
    try:
        make_node_namespaces()
        mount_tmpfs("/run")  # where iproute2 keeps the names of namespaces
    except NamespacesRefused as error:
        print(f"{error}\n(tests that need network namespaces are skipped)", file=sys.stderr)
    inside = _pytest([*arguments, *(f"--ignore={path}" for path in OUTSIDE)])
    return max(code for code in (outside, inside) if code != NO_TESTS) if {outside, inside} != {NO_TESTS} else NO_TESTS


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
