# SPDX-License-Identifier: Apache-2.0
"""Puts the CNI executable and the network's configuration where the container runtime looks for them.

The configuration list is what makes the runtime use the network, so the executable is written before it, and
both appear complete or not at all. Running it again changes nothing. A file of the same name that is not ours is
never overwritten or removed. The executable is one of two kinds, a Python program or a native one, and either
replaces the other. What it does is told in ``shim.py``, where the native one comes from in ``native.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from contivpp_cni import native
from contivpp_cni.files import write_atomically

BINARY_NAME = "contivpp"
MARKER = "# contivpp-cni: written by contivpp-cni-install, which overwrites it."
OLDEST_PYTHON = (3, 9)
SHEBANG_LIMIT = 127  # of kernels before 5.1, with "#!" and the option
SOCKET_PATH_LIMIT = 107  # sun_path, less its closing NUL
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# What runtimes may pass to us for each pod, under `runtimeConfig`.
CAPABILITIES = {"mac": True, "ips": True, "dns": True}
# What a chained plugin needs in the configuration beside its type.
CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"capabilities": {"portMappings": True}, "externalSetMarkChain": "KUBE-MARK-MASQ"},
    "bandwidth": {"capabilities": {"bandwidth": True}},
}
# Runs in the interpreter that will run the executable: prints its version, magic number, compiled module.
PROBE = """
import sys, marshal, _frozen_importlib_external as external
code = compile(sys.stdin.buffer.read(), "contivpp", "exec", dont_inherit=True, optimize=2)
print(sys.implementation.name, *sys.version_info[:2], external.MAGIC_NUMBER.hex(), marshal.dumps(code).hex())
"""
EXAMPLES = """examples:
  contivpp-cni-install
  contivpp-cni-install --mtu 1450 --chain portmap --chain bandwidth
  contivpp-cni-install --bin-dir /host/opt/cni/bin --conf-dir /host/etc/cni/net.d \\
      --python /usr/bin/python3 --trust-python
  contivpp-cni-install --bin-dir /host/opt/cni/bin --conf-dir /host/etc/cni/net.d --executable native
  contivpp-cni-install --uninstall
"""


class InstallError(Exception):
    """Something that the caller has to change; the text says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        for line in uninstall(options) if options.uninstall else install(options):
            print(line)
    except InstallError as error:
        print(f"contivpp-cni-install: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"contivpp-cni-install: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="contivpp-cni-install",
        description="Install the CNI executable of Contiv-VPP and its network configuration on this node.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--bin-dir", type=Path, default=Path("/opt/cni/bin"), help="for the executable (%(default)s)")
    add("--conf-dir", type=Path, default=Path("/etc/cni/net.d"), help="for the configuration (%(default)s)")
    add("--socket", default="/run/contivpp/cni.sock", help="the agent's CNI socket (%(default)s)")
    add("--name", default="k8s-pod-network", help="name of the network (%(default)s)")
    add("--conf-name", default="10-contivpp.conflist", help="the configuration file (%(default)s)")
    add("--cni-version", default="1.0.0", choices=["0.3.1", "0.4.0", "1.0.0", "1.1.0"], help="(%(default)s)")
    add("--mtu", type=int, help="MTU of pod interfaces (the agent's choice)")
    add("--chain", action="append", default=[], metavar="PLUGIN", help="a plugin to run after ours")
    add(
        "--executable",
        default="auto",
        choices=["auto", "python", "native"],
        help="its kind (native where a built program is there, else python where an interpreter is, else compiled)",
    )
    add("--native-program", type=Path, help="the built program (the one beside this package; else it is compiled)")
    add("--trust-native", action="store_true", help="do not try --native-program: it is for another machine")
    add("--python", type=Path, help="its interpreter (/usr/bin/python3, or the one running this)")
    add("--trust-python", action="store_true", help="do not try --python: it is outside this container")
    add("--uninstall", action="store_true", help="remove the two files, if they are ours")
    return result


def install(options: argparse.Namespace) -> Iterable[str]:
    """Write both files; the executable first. Yields what was done, for people."""
    check_options(options)
    binary, configuration = target_files(options)
    if binary.exists() and not is_our_binary(binary):
        raise InstallError(f"{binary} exists and is not ours: move it away, or choose another --bin-dir")
    if configuration.exists() and not is_our_configuration(configuration):
        raise InstallError(f"{configuration} exists and is not ours: choose another --conf-name")
    content = executable(options)
    for directory in (options.bin_dir, options.conf_dir):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    yield write_atomically(binary, content, mode=0o755)
    yield write_atomically(configuration, configuration_text(options), mode=0o644)
    yield from remarks(options)


def uninstall(options: argparse.Namespace) -> Iterable[str]:
    """Remove the configuration first: then no runtime looks for the executable any more."""
    check_names(options)
    binary, configuration = target_files(options)
    foreign = []
    for path, is_ours in ((configuration, is_our_configuration), (binary, is_our_binary)):
        if not path.exists():
            yield f"absent    {path}"
        elif is_ours(path):
            path.unlink()
            yield f"removed   {path}"
        else:
            foreign.append(str(path))
    if foreign:
        raise InstallError(f"not ours, left in place: {', '.join(foreign)}")


def target_files(options: argparse.Namespace) -> tuple[Path, Path]:
    return options.bin_dir / BINARY_NAME, options.conf_dir / options.conf_name


def check_options(options: argparse.Namespace) -> None:
    check_names(options)
    socket = os.fsencode(options.socket)
    if not options.socket.startswith("/") or options.socket.endswith("/"):
        raise InstallError(f"--socket {options.socket!r}: give the absolute path of a socket")
    if len(socket) > SOCKET_PATH_LIMIT or b"\0" in socket:
        raise InstallError(f"--socket: has {len(socket)} bytes; at most {SOCKET_PATH_LIMIT} are possible")
    if not NAME.match(options.name):
        raise InstallError(f"--name {options.name!r}: give letters, digits, _ . - (first a letter or digit)")
    if options.mtu is not None and not 576 <= options.mtu <= 65535:
        raise InstallError(f"--mtu {options.mtu}: give 576 to 65535")
    for plugin in options.chain:
        if not NAME.match(plugin) or plugin == BINARY_NAME:
            raise InstallError(f"--chain {plugin!r}: give the name of another plugin's executable")
    if len(set(options.chain)) != len(options.chain):
        raise InstallError(f"--chain: a plugin is named twice: {', '.join(options.chain)}")
    check_kind(options)


def check_kind(options: argparse.Namespace) -> None:
    if options.trust_python and options.python is None:
        raise InstallError("--trust-python: needs --python, the interpreter's path on the host")
    if options.trust_native and options.native_program is None:
        raise InstallError("--trust-native: needs --native-program, the program for that machine")
    if options.python is not None and (options.native_program is not None or options.executable == "native"):
        raise InstallError("--python: a native program has no interpreter; leave it out, or --native-program")
    if options.native_program is not None and options.executable == "python":
        raise InstallError("--native-program: is not for --executable python; leave one of them out")


def check_names(options: argparse.Namespace) -> None:
    """What decides where files are written or removed."""
    for option, directory in (("--bin-dir", options.bin_dir), ("--conf-dir", options.conf_dir)):
        if not directory.is_absolute():
            raise InstallError(f"{option} {directory}: give an absolute path")
        if directory.exists() and not directory.is_dir():
            raise InstallError(f"{option} {directory}: is not a directory")
    if not NAME.match(options.conf_name) or not options.conf_name.endswith(".conflist"):
        raise InstallError(f"--conf-name {options.conf_name!r}: give a plain file name ending in .conflist")


def executable(options: argparse.Namespace) -> bytes:
    """The executable, of the kind that was asked for, or of the first that this host can have."""
    python_asked = options.executable == "python" or options.python is not None
    native_asked = options.executable == "native" or options.native_program is not None
    if native_asked or (native.PREBUILT.exists() and not python_asked):
        return native_program(options)
    try:
        return executable_text(python=options.python, trusted=options.trust_python, socket=options.socket)
    except InstallError as error:
        if python_asked:
            raise
        try:
            return native_program(options)
        except InstallError as other:
            raise InstallError(f"neither kind of executable can be made here: {error}; {other}") from error


def native_program(options: argparse.Namespace) -> bytes:
    """The program that was given, or is beside this package, or can be compiled."""
    path = options.native_program or (native.PREBUILT if native.PREBUILT.exists() else None)
    try:
        content = native.build() if path is None else native.verified(path, trusted=options.trust_native)
    except native.NativeError as error:
        option = "--executable native" if options.native_program is None else "--native-program"
        raise InstallError(f"{option}: {error}") from error
    return native.with_socket(content, os.fsencode(options.socket))


def executable_text(*, python: Path | None, trusted: bool, socket: str) -> bytes:
    """The stub around ``shim.py``: its docstring tells why it looks like this."""
    source = Path(__file__).with_name("shim.py").read_bytes()
    if trusted and python is not None:
        interpreter, magic, code = python, *compiled(Path(sys.executable), source)
    else:
        interpreter, magic, code = choose(python, source)
    shebang = f"#!{interpreter} -IS"
    if not interpreter.is_absolute() or len(shebang) > SHEBANG_LIMIT or re.search(r"\s", str(interpreter)):
        raise InstallError(f"--python {interpreter}: give an absolute path, short and without spaces")
    lines = [
        shebang,
        MARKER,
        "from _frozen_importlib_external import MAGIC_NUMBER",
        "from marshal import loads",
        "names = {'__name__': 'contivpp_cni.shim'}",
        f"exec(loads({code!r}) if MAGIC_NUMBER == {magic!r} else {source.decode()!r}, names)",
        f"names['main']({os.fsencode(socket)!r})",
    ]
    return ("\n".join(lines) + "\n").encode()


def choose(python: Path | None, source: bytes) -> tuple[Path, bytes, bytes]:
    """The interpreter that was asked for; else the system's, else the one that runs this."""
    if python is not None:
        return python, *compiled(python, source)
    system = Path("/usr/bin/python3")
    with contextlib.suppress(InstallError):
        return system, *compiled(system, source)
    return Path(sys.executable), *compiled(Path(sys.executable), source)


def compiled(python: Path, source: bytes) -> tuple[bytes, bytes]:
    """Magic number and marshalled code for `python`; InstallError if it cannot run the executable."""
    try:
        answer = subprocess.run(
            [python, "-I", "-S", "-c", PROBE], input=source, capture_output=True, timeout=30, check=True
        ).stdout
        name, major, minor, magic, code = answer.decode().split()
        usable = name == "cpython" and (int(major), int(minor)) >= OLDEST_PYTHON
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InstallError(f"--python {python}: cannot be run: {error}") from error
    if not usable:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise InstallError(f"--python {python}: is {name} {major}.{minor}; CPython {oldest} or newer is needed")
    return bytes.fromhex(magic), bytes.fromhex(code)


def configuration_text(options: argparse.Namespace) -> bytes:
    ours: dict[str, Any] = {"type": BINARY_NAME, "capabilities": CAPABILITIES}
    if options.mtu is not None:
        ours["mtu"] = options.mtu
    plugins = [ours, *({"type": plugin, **CHAINED.get(plugin, {})} for plugin in options.chain)]
    network = {"cniVersion": options.cni_version, "name": options.name, "plugins": plugins}
    return (json.dumps(network, indent=2) + "\n").encode()


def is_our_binary(path: Path) -> bool:
    """Ours has a marker: a Python program in its second line, a native one beside its socket's path."""
    content = path.read_bytes() if path.is_file() else b""
    return native.is_native(content) or content[:1024].split(b"\n")[1:2] == [MARKER.encode()]


def is_our_configuration(path: Path) -> bool:
    """Ours is a list whose first plugin is ours: that also finds one that was edited by hand."""
    try:
        return bool(json.loads(path.read_bytes())["plugins"][0]["type"] == BINARY_NAME)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def remarks(options: argparse.Namespace) -> Iterable[str]:
    """Two things that are legal, and yet stop every pod."""
    for plugin in options.chain:
        if not (options.bin_dir / plugin).exists():
            yield f"warning: {options.bin_dir / plugin} is absent: no pod starts until it is there"
    others = sorted(
        path.name
        for path in options.conf_dir.iterdir()
        if path.suffix in {".conf", ".conflist", ".json"} and path.name < options.conf_name
    )
    if others:
        yield f"warning: the runtime uses {options.conf_dir / others[0]} instead: its name sorts first"


if __name__ == "__main__":
    sys.exit(main())
