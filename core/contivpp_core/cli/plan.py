# SPDX-License-Identifier: Apache-2.0
"""`contivpp plan`: what would change in VPP and Linux. Nothing is applied."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contivpp_core.cli.client import Client, default_socket
from contivpp_core.cli.command import Command
from contivpp_core.cli.plan_text import text_of
from contivpp_core.errors import ConfigError

__all__ = ["PLAN"]

SECONDS = 600.0
CHANGES = 2


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="plan for a restart with this configuration")
    parser.add_argument(
        "--manifests",
        metavar="FILE",
        nargs="+",
        default=[],
        help="plan for these Kubernetes objects (YAML, as the API server has them: 'kubectl get -o yaml'); one that is "
        "known already is replaced, all others that the agent knows stay",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="of each kind in the manifests, these are all objects: the others that the agent knows go",
    )
    parser.add_argument(
        "--live", action="store_true", help="read VPP and Linux first, so that drift is in the plan; repairs nothing"
    )
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help=f"end with {CHANGES} if something would change (and with 1 for whatever is wrong)",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print it")
    parser.add_argument("--socket", default=None, help=f"the agent's socket (default: {default_socket()})")


def _run(arguments: argparse.Namespace) -> int:
    try:
        return _planned(arguments)
    except ConfigError as error:
        if not arguments.exit_code:
            raise
        print(*error.faults, sep="\n", file=sys.stderr)
        return 1


def _planned(arguments: argparse.Namespace) -> int:
    if arguments.replace and not arguments.manifests:
        raise ConfigError(["--replace: of which kinds? Name files by --manifests"])
    request: dict[str, Any] = {"replace": arguments.replace, "live": arguments.live}
    if arguments.config is not None:
        request["config"] = {"name": arguments.config, "text": _read(arguments.config)}
    request["manifests"] = list(_manifests(arguments.manifests))
    plan = Client(arguments.socket, timeout=SECONDS).post("v1", "plan", body=request)
    print(json.dumps(plan, indent=2) if arguments.output == "json" else text_of(plan))
    return CHANGES if arguments.exit_code and plan["changes"] else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start}: the file must be UTF-8 text"]) from error


def _manifests(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield each document of the files, with its place."""
    import yaml  # noqa: PLC0415 (other commands do without)

    for path in paths:
        text = _read(path)
        try:
            documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.MarkedYAMLError as error:
            place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
            raise ConfigError([f"{path}: {place}not YAML: {error.problem}"]) from error
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError([f"{path}: not YAML: {error}"]) from error
        for number, document in enumerate(documents, 1):
            if document is not None:
                place = path if len(documents) == 1 else f"{path}: document {number}"
                yield {"place": place, "object": document}


PLAN = Command(
    "plan",
    "show what would change in VPP and Linux, and apply nothing",
    _run,
    _configure,
    (
        ("contivpp plan", "what the agent has still to do"),
        ("contivpp plan --live", "the same, with what others changed behind its back"),
        ("contivpp plan --config new.yaml", "what a restart with this configuration would change"),
        ("contivpp plan --manifests nodeconfig.yaml", "what this object would change"),
        ("kubectl get pods -A -o yaml > pods.yaml", ""),
        ("contivpp plan --manifests pods.yaml --replace", "what would change if these were all pods"),
        ("contivpp plan --config new.yaml --exit-code -o json", "for scripts: 0 nothing, 2 changes, 1 it failed"),
    ),
)
