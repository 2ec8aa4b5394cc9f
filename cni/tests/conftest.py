# SPDX-License-Identifier: Apache-2.0
"""The kinds of the executable, each installed by the installer: what one of them does, all do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contivpp_cni import install, native

Installed = Callable[[str, Path], Path]

KINDS = ("compiled", "text", "native", "sanitized")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
BUILDS = {
    "native": (native.COMPILERS, (*WARNINGS, "-Os", "-static")),
    "sanitized": (("cc", "gcc"), (*WARNINGS, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")),
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The native program, built once for each way of building it; skips where that is not possible."""
    built: dict[str, Path] = {}

    def make(kind: str) -> Path:
        compilers, flags = BUILDS[kind]
        if not any(shutil.which(name) for name in compilers):
            pytest.skip(f"needs one of {', '.join(compilers)}")
        if kind not in built:
            try:
                content = native.build(compilers, flags)
            except native.NativeError as error:
                if "cannot find -l" in str(error) or "libclang_rt" in str(error):
                    pytest.skip(f"a library is missing: {error}")
                raise
            built[kind] = tmp_path_factory.mktemp(kind) / "contivpp"
            install.write_atomically(built[kind], content, mode=0o755)
        return built[kind]

    return make


@pytest.fixture(scope="session")
def installed(program: Callable[[str], Path]) -> Installed:
    """Install a kind below a directory, with the directory's socket `s`."""

    def make(kind: str, directory: Path) -> Path:
        binaries = directory / f"bin-{kind}"
        arguments = ["--bin-dir", str(binaries), "--conf-dir", str(directory / "conf")]
        arguments += ["--socket", str(directory / "s")]
        if kind in BUILDS:
            arguments += ["--native-program", str(program(kind))]
        else:
            arguments += ["--executable", "python"]
        assert install.main(arguments) == 0
        path = binaries / "contivpp"
        if kind == "text":
            path.write_text(path.read_text().replace("MAGIC_NUMBER == ", "b'' == "))
        return path

    return make


@pytest.fixture(params=KINDS)
def shim(request: pytest.FixtureRequest, tmp_path: Path, installed: Installed) -> Path:
    return installed(request.param, tmp_path)
