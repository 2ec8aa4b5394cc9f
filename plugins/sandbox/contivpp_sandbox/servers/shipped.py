# SPDX-License-Identifier: Apache-2.0
"""What an operator applies before anything of ours runs: the manifests in `deploy`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contivpp_sandbox.sandbox.errors import MachineLacks, SandboxError
from contivpp_sandbox.servers.api import Api, list_path

__all__ = ["check", "install"]

_DEPLOY = Path(__file__).parents[4] / "deploy"
_FOLDERS = ("crd", "rbac")
_SECONDS = 30.0
_POLL_SECONDS = 0.05


def check() -> None:
    """Raise MachineLacks where they are missing."""
    for folder in _FOLDERS:
        if not (_DEPLOY / folder).is_dir():
            raise MachineLacks(f"{_DEPLOY / folder}: the manifests are not there: run this from a checkout")


async def install(api: Api, *folders: str) -> None:
    """Apply all of them, or those of some folders, and wait until the kinds of ours are served."""
    for folder in folders or _FOLDERS:
        for path in sorted((_DEPLOY / folder).glob("*.yaml")):
            await api.apply(path.read_text("utf-8"))
    at, end = f"{list_path('NodeConfig')}?limit=1", asyncio.get_running_loop().time() + _SECONDS
    while (status := (await api.call("GET", at))[0]) != 200:
        if asyncio.get_running_loop().time() > end:
            raise SandboxError(f"the API server does not serve NodeConfig within {_SECONDS:g} s: {status}")
        await asyncio.sleep(_POLL_SECONDS)
