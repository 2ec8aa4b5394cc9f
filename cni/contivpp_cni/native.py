# SPDX-License-Identifier: Apache-2.0
"""The CNI executable as a native program: ``shim.c``, for hosts without Python, and with the shorter start.

One static file, so that it runs on any Linux of its architecture. The socket's path is compiled in, in a slot of
fixed size behind a marker: the installer writes the path that it was given there, and knows its own programs by
the marker. For images, `python -m contivpp_cni.native` builds it beside this module, where the installer finds it;
then neither the image nor the host needs a compiler.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from contivpp_cni import shim
from contivpp_cni.files import write_atomically

SOURCE = Path(__file__).with_name("shim.c")
PREBUILT = Path(__file__).with_name("contivpp-native")
ELF = b"\x7fELF"
MARKER = b"# contivpp-cni: native program, its socket: "
SLOT = 108  # sun_path, with its closing NUL
COMPILERS = ("musl-gcc", "cc", "gcc")  # musl's programs are smaller, and start a little sooner
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Os", "-static", "-s")
BUILD_SECONDS = 120
TRIAL_SECONDS = 10


class NativeError(Exception):
    """There is no usable native program; the text says what to do."""


def build(compilers: Sequence[str] = COMPILERS, flags: Sequence[str] = FLAGS) -> bytes:
    """Compile the program with the first compiler that can; `CC` in the environment names another one."""
    chosen = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else [[name] for name in compilers]
    present = [command for command in chosen if shutil.which(command[0])]
    if not present:
        raise NativeError(
            f"none of the compilers {', '.join(command[0] for command in chosen)} is there: install one (Debian: "
            "apt install musl-tools), or build the program elsewhere by `python3 -m contivpp_cni.native OUTPUT`"
        )
    failures = []
    with tempfile.TemporaryDirectory(prefix="contivpp-cni-") as directory:
        output = Path(directory) / "contivpp"
        for compiler in present:
            try:
                command = [*compiler, *flags, "-o", str(output), str(SOURCE)]
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILD_SECONDS, check=True
                )
                return output.read_bytes()
            except subprocess.CalledProcessError as error:
                failures.append(f"{compiler[0]}: {error.stderr.decode(errors='replace').strip()}")
            except (OSError, subprocess.SubprocessError) as error:
                failures.append(f"{compiler[0]}: {error}")
    raise NativeError(
        "the program cannot be compiled; a static libc is needed (Debian: musl-tools or libc6-dev; "
        f"Fedora: musl-gcc or glibc-static):\n{'; '.join(failures)}"
    )


def is_native(content: bytes) -> bool:
    return content.startswith(ELF) and 0 <= content.find(MARKER) <= len(content) - len(MARKER) - SLOT


def verified(path: Path, *, trusted: bool) -> bytes:
    """The program in `path`, after it has answered VERSION; `trusted`: it is for another kind of machine."""
    content = path.read_bytes()
    if not is_native(content):
        raise NativeError(f"{path}: is no build of shim.c: make one by `python3 -m contivpp_cni.native OUTPUT`")
    if not trusted:
        stdin = b'{"cniVersion":"0.4.0"}'
        try:
            trial = subprocess.run(
                [path.absolute()],
                input=stdin,
                capture_output=True,
                timeout=TRIAL_SECONDS,
                env={"CNI_COMMAND": "VERSION"},
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NativeError(f"{path}: cannot be run here: {error}") from error
        if trial.stdout != shim.version_json(bytearray(stdin)):
            raise NativeError(f"{path}: answers VERSION with {trial.stdout!r}: it is of another release")
    return content


def with_socket(content: bytes, socket: bytes) -> bytes:
    """The program with another path of the socket."""
    start = content.index(MARKER) + len(MARKER)
    return content[:start] + socket.ljust(SLOT, b"\0") + content[start + SLOT :]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m contivpp_cni.native",
        description="Build the CNI executable as a native program; the environment's CC names the compiler.",
    )
    parser.add_argument("output", nargs="?", type=Path, default=PREBUILT, help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        print(write_atomically(options.output, build(), mode=0o755))
    except NativeError as error:
        print(f"contivpp_cni.native: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"contivpp_cni.native: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
