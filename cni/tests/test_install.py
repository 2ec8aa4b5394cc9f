# SPDX-License-Identifier: Apache-2.0
"""The installer: complete files, nothing foreign touched, nonsense refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contivpp_cni import install, native, shim

Program = Callable[[str], Path]
ELF = native.ELF


def run(tmp_path: Path, *more: str) -> int:
    return install.main(["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "conf"), *more])


def test_install_again_and_uninstall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--mtu", "1450", "--chain", "portmap") == 0
    binary, conf = tmp_path / "bin" / "contivpp", tmp_path / "conf" / "10-contivpp.conflist"
    assert (binary.stat().st_mode & 0o777, conf.stat().st_mode & 0o777) == (0o755, 0o644)
    plugins = json.loads(conf.read_text())["plugins"]
    assert plugins[0] == {"type": "contivpp", "capabilities": {"mac": True, "ips": True, "dns": True}, "mtu": 1450}
    assert plugins[1]["capabilities"] == {"portMappings": True}
    assert "portmap is absent" in capsys.readouterr().out
    assert run(tmp_path, "--mtu", "1450", "--chain", "portmap") == 0
    assert capsys.readouterr().out.count("unchanged") == 2
    (tmp_path / "conf" / "other.conf").write_text("{}")
    assert run(tmp_path, "--uninstall") == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other.conf"]


def test_foreign_files_stay(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    foreign = tmp_path / "bin" / "contivpp"
    foreign.write_text("#!/bin/sh\n")
    assert run(tmp_path) == 1
    assert run(tmp_path, "--uninstall") == 1
    assert foreign.read_text() == "#!/bin/sh\n"
    assert not (tmp_path / "conf").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--socket", "relative"], ["--socket", "/" + "x" * 107], ["--mtu", "10"], ["--name", "a/b"],
        ["--conf-name", "../x.conflist"], ["--conf-name", "x.json"], ["--chain", "contivpp"],
        ["--python", "/bin/false"], ["--python", "/nowhere"], ["--trust-python"], ["--conf-dir", "relative"],
        ["--native-program", "/bin/true"], ["--native-program", __file__], ["--trust-native"],
        ["--native-program", "/bin/true", "--trust-native"], ["--python", "/bin/false", "--executable", "native"],
        ["--native-program", "/bin/true", "--executable", "python"], ["--python", "p", "--native-program", "n"],
    ],
)  # fmt: skip
def test_nonsense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(tmp_path, *arguments) == 1
    assert capsys.readouterr().err.startswith(f"contivpp-cni-install: {arguments[0]}")
    assert not list(tmp_path.iterdir())


def kind(tmp_path: Path) -> str:
    return "native" if (tmp_path / "bin" / "contivpp").read_bytes().startswith(ELF) else "python"


def call(tmp_path: Path) -> str:
    executable = tmp_path / "bin" / "contivpp"
    done = subprocess.run([executable], stdin=-3, stdout=-1, env={"CNI_COMMAND": "ADD"}, check=False)
    return str(json.loads(done.stdout)["msg"])


@pytest.fixture
def prebuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a program beside the package would be; none is there."""
    path = tmp_path / "package" / "contivpp-native"
    path.parent.mkdir()
    monkeypatch.setattr(native, "PREBUILT", path)
    return path


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))


def test_each_kind_replaces_the_other(tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    longest = "/" + "s" * 106
    for arguments, expected in (
        (["--executable", "python"], "python"),
        (["--native-program", str(program("native"))], "native"),
        (["--executable", "python"], "python"),
        (["--executable", "native", "--native-program", str(program("native"))], "native"),
    ):
        for socket in ("/none/a", longest):
            assert run(tmp_path, "--socket", socket, *arguments) == 0
            assert kind(tmp_path) == expected
            assert f"on socket {socket}: " in call(tmp_path)
    capsys.readouterr()
    assert run(tmp_path, "--socket", longest, "--native-program", str(tmp_path / "bin" / "contivpp")) == 0
    assert "unchanged" in capsys.readouterr().out.splitlines()[0]
    assert run(tmp_path, "--uninstall") == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_auto_takes_the_built_program_first(tmp_path: Path, program: Program, prebuilt: Path) -> None:
    assert run(tmp_path) == 0
    assert kind(tmp_path) == "python"
    shutil.copy(program("native"), prebuilt)
    assert run(tmp_path) == 0
    assert kind(tmp_path) == "native"
    assert run(tmp_path, "--python", "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable) == 0
    assert kind(tmp_path) == "python"


def test_auto_compiles_where_no_interpreter_is_usable(
    tmp_path: Path, program: Program, prebuilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("native")  # skips without a compiler
    monkeypatch.setattr(install, "OLDEST_PYTHON", (9, 9))
    assert run(tmp_path) == 0
    assert kind(tmp_path) == "native"
    assert "/run/contivpp/cni.sock" in call(tmp_path)
    before = (tmp_path / "bin" / "contivpp").read_bytes()
    assert run(tmp_path, "--executable", "native") == 0
    assert (tmp_path / "bin" / "contivpp").read_bytes() == before


@pytest.mark.usefixtures("prebuilt", "no_compiler")
def test_neither_kind_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--executable", "native") == 1
    assert "install one (Debian: apt install musl-tools)" in capsys.readouterr().err
    monkeypatch.setattr(install, "OLDEST_PYTHON", (9, 9))
    assert run(tmp_path) == 1
    message = capsys.readouterr().err
    assert "CPython 9.9 or newer is needed" in message
    assert "apt install musl-tools" in message
    assert not (tmp_path / "bin").exists()


@pytest.mark.usefixtures("prebuilt")
def test_what_the_compiler_says_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho no static libc here >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert run(tmp_path, "--executable", "native") == 1
    assert "no static libc here" in capsys.readouterr().err


def test_a_program_that_cannot_run_here_needs_trust(
    tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    content = bytearray(program("native").read_bytes())
    content[18:20] = b"\xff\xfe"  # e_machine
    other.write_bytes(content)
    other.chmod(0o755)
    assert run(tmp_path, "--native-program", str(other)) == 1
    assert "cannot be run here" in capsys.readouterr().err
    assert run(tmp_path, "--native-program", str(other), "--trust-native") == 0
    assert (tmp_path / "bin" / "contivpp").read_bytes() == bytes(content)


def test_a_program_of_another_release_is_refused(
    tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.write_bytes(program("native").read_bytes().replace(b'"0.3.1"', b'"0.3.0"'))
    other.chmod(0o755)
    assert run(tmp_path, "--native-program", str(other)) == 1
    assert "another release" in capsys.readouterr().err


def test_a_foreign_program_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = tmp_path / "bin" / "contivpp"
    foreign.parent.mkdir()
    shutil.copy("/bin/true", foreign)
    assert run(tmp_path) == 1
    assert "is not ours" in capsys.readouterr().err
    assert run(tmp_path, "--uninstall") == 1
    assert foreign.exists()


def test_the_program_is_built_for_images(
    tmp_path: Path,
    program: Program,
    prebuilt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program("native")
    assert native.main([str(tmp_path / "out")]) == 0
    assert os.access(tmp_path / "out", os.X_OK)
    assert native.is_native((tmp_path / "out").read_bytes())
    assert native.main([str(tmp_path / "absent" / "out")]) == 1
    assert "absent" in capsys.readouterr().err
    monkeypatch.setenv("CC", "no-such-compiler")
    assert native.main([str(tmp_path / "out")]) == 1
    assert "no-such-compiler" in capsys.readouterr().err


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc", "clang", "cc"])
def test_no_compiler_warns(tmp_path: Path, compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not there")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-static"]
    subprocess.run([compiler, *flags, "-o", tmp_path / "out", native.SOURCE], check=True)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_stricter_warnings_find_nothing(tmp_path: Path, compiler: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not there")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror", "-O2"]
    subprocess.run([compiler, *flags, "-c", "-o", tmp_path / "out", native.SOURCE], check=True)


def test_both_kinds_have_the_same_constants() -> None:
    text = native.SOURCE.read_text()
    for name in ("DEADLINE_LENGTH", "ANSWER_HEADER_LIMIT"):
        assert f"#define {name} {getattr(shim, name)}\n" in text
    assert native.MARKER.decode() in text
    assert f'#define DEFAULT_SOCKET "{shim.DEFAULT_SOCKET.decode()}"' in text
