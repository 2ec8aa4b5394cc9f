# SPDX-License-Identifier: Apache-2.0
"""The log of calls: private, rotated, without secrets; a log that cannot be written stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

from contivpp_contiv.cni.log import CniLog

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth\udcff0",
    "CNI_NETNS": "/run/netns/x",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;PASSWORD=secret",
    "CNI_TOKEN": "secret",
}


def test_a_line_says_what_was_asked_and_answered(tmp_path: Path) -> None:
    log = CniLog(tmp_path / "cni.log", 1000)
    log.write(ENVIRONMENT, 0, b'{"ips":[{"address":"10.1.1.2/32"}]}', 0.0125)
    log.write(ENVIRONMENT, 1, b'{"code":11,"msg":"VPP is away"}', 1)
    log.write({"CNI_COMMAND": "STATUS"}, 0, b"", 0)
    log.close()
    text = (tmp_path / "cni.log").read_text()
    assert "secret" not in text
    first, second, third = (json.loads(line) for line in text.splitlines())
    assert (first["pod"], first["namespace"], first["addresses"]) == ("web", "default", ["10.1.1.2/32"])
    assert (first["milliseconds"], first["exit"]) == (12.5, 0)
    assert (second["code"], second["msg"]) == (11, "VPP is away")
    assert set(third) == {"time", "command", "exit", "milliseconds"}


def test_it_is_private_and_rotated(tmp_path: Path) -> None:
    log = CniLog(tmp_path / "cni.log", 1000)
    for _ in range(100):
        log.write(ENVIRONMENT, 0, b"", 0)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["cni.log", "cni.log.1", "cni.log.2", "cni.log.3"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert all(path.stat().st_size <= 1000 for path in files)


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "absent" / "cni.log", tmp_path / "link"):
        log = CniLog(path, 1000)
        log.write(ENVIRONMENT, 0, b"", 0)
        log.close()
    assert not (tmp_path / "elsewhere").exists()
