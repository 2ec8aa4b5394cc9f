# SPDX-License-Identifier: Apache-2.0
"""The installer: complete files, nothing foreign touched, nonsense refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contivpp_cni import install

ASKED = {"dns": True, "ips": True, "mac": True}


def run(tmp_path: Path, *more: str) -> int:
    return install.main(["--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "conf"), *more])


def test_install_again_and_uninstall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--mtu", "1450", "--chain", "portmap") == 0
    binary, conf = tmp_path / "bin" / "contivpp", tmp_path / "conf" / "10-contivpp.conflist"
    assert (binary.stat().st_mode & 0o777, conf.stat().st_mode & 0o777) == (0o755, 0o644)
    plugins = json.loads(conf.read_text())["plugins"]
    assert plugins[0] == {"type": "contivpp", "capabilities": ASKED, "mtu": 1450}
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
    ],
)  # fmt: skip
def test_nonsense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(tmp_path, *arguments) == 1
    assert capsys.readouterr().err.startswith(f"contivpp-cni-install: {arguments[0]}")
    assert not list(tmp_path.iterdir())
