# SPDX-License-Identifier: Apache-2.0
"""Container images made here: busybox (static) in one layer, as a root folder or as an archive in the layout of OCI."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from .outside import program

COMMANDS = ("sh", "sleep", "ping", "wget", "httpd", "ip", "cat", "ls", "hostname")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def root_tar() -> bytes:
    """A root folder with busybox, as a tar."""
    busybox = Path(program("busybox", "busybox-static"))
    if re.search(rb"/ld-(linux|musl)", busybox.read_bytes()[:4096]):  # the interpreter's path is in the first page
        pytest.skip(f"{busybox} needs libraries (Debian: apt install busybox-static)")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        _file(tar, "www/index.html", b"it works\n", 0o644)
        for command in COMMANDS:
            link = tarfile.TarInfo(f"bin/{command}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def oci_archive(path: Path, *names: str, machine: str) -> None:
    """Write an archive with one image that has these names; it sleeps unless it is told a command."""
    layer = root_tar()
    blobs: dict[str, bytes] = {}
    config = {
        "architecture": MACHINES.get(machine, machine),
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    image = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", json.dumps(config).encode()),
        "layers": [_blob(blobs, "application/vnd.oci.image.layer.v1.tar", layer)],
    }
    manifest = _blob(blobs, image["mediaType"], json.dumps(image).encode())
    index = {
        "schemaVersion": 2,
        "manifests": [{**manifest, "annotations": {"io.containerd.image.name": name}} for name in names],
    }
    with tarfile.open(path, "w") as tar:
        _file(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}', 0o644)
        _file(tar, "index.json", json.dumps(index).encode(), 0o644)
        for digest, content in blobs.items():
            _file(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}", content, 0o644)


def _blob(blobs: dict[str, bytes], media_type: Any, content: bytes) -> dict[str, Any]:
    blobs[_digest(content)] = content
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _file(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
