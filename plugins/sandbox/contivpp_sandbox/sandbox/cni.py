# SPDX-License-Identifier: Apache-2.0
"""Calls the CNI executable as a container runtime does: environment, network configuration on stdin, JSON on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any, Literal

from contivpp_sandbox.rigs.base import CNI_CONFIG, cni_environment
from contivpp_sandbox.sandbox.directory import NodeFolder
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.pod import SandboxPod

__all__ = ["CniError", "call_cni"]

RUNTIME_SECONDS = 120.0  # what a kubelet allows


class CniError(SandboxError):
    """The executable said no."""


async def call_cni(command: Literal["ADD", "DEL"], pod: SandboxPod, folder: NodeFolder) -> Any:
    """Call the executable for a pod; return its result (None for DEL), or raise CniError."""
    netns = f"/proc/{pod.pid}/ns/net" if pod.process.alive else ""
    environment = cni_environment(
        command, container=pod.container, netns=netns, namespace=pod.namespace, name=pod.name, uid=pod.uid
    )
    executable = folder.cni_executable
    environment["CNI_PATH"] = str(executable.parent)
    environment["PATH"] = os.environ.get("PATH", os.defpath)
    code, output, errors = await _run(str(executable), environment)
    if code == 0:
        try:
            return json.loads(output) if output.strip() else None
        except ValueError as error:
            raise CniError(f"{executable} printed no JSON: {output[:200]!r}") from error
    raise CniError(_failure(output, errors) or f"{executable} ended with {code} and said nothing")


async def _run(executable: str, environment: dict[str, str]) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            executable,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise CniError(f"{executable} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(RUNTIME_SECONDS):
            output, errors = await process.communicate(CNI_CONFIG)
    except TimeoutError:
        raise CniError(f"{executable} did not answer within {RUNTIME_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, output, errors


def _failure(output: bytes, errors: bytes) -> str:
    """Return the text of a CNI error, or what was printed in its place."""
    try:
        told = json.loads(output)
        details = f" ({told['details']})" if told.get("details") else ""
        return f"{told['msg']}{details}, code {told.get('code', '?')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return (output + errors).decode("utf-8", "replace").strip()[:500]
