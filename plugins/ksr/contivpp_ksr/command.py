# SPDX-License-Identifier: Apache-2.0
"""`contivpp ksr`: run the reflector in the foreground, or ask a running one."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from contivpp_core import logs
from contivpp_core.cli.command import Command
from contivpp_core.config import Config, Source
from contivpp_core.errors import ConfigError, ContivError, PluginError
from contivpp_core.hooks import Hooks
from contivpp_core.kvstore import KVStore
from contivpp_core.loading import installed, load
from contivpp_ksr.config import KsrConfig

__all__ = ["KSR", "cluster_store"]

DEFAULT_CONFIG = "/etc/contivpp/ksr.yaml"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get("CONTIVPP_KSR_CONFIG") or DEFAULT_CONFIG,
        help=f"the configuration (default: CONTIVPP_KSR_CONFIG, or {DEFAULT_CONFIG}); 'plugins' must name ksr "
        "and the plugin that has the store",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="check the configuration, and start nothing")
    action.add_argument("--status", action="store_true", help="tell how the running reflector stands")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table", help="of --status (%(default)s)")


def _run(arguments: argparse.Namespace) -> int:
    hooks, config = _read(arguments.config)
    if arguments.check:
        _stores(hooks, config)
        print(f"{arguments.config}: good")
        return 0
    section = config.section("ksr", KsrConfig)
    if arguments.status:
        found = asyncio.run(_ask(section))
        print(json.dumps(found, indent=2) if arguments.output == "json" else _table(found))
        return 0 if found["ready"] else 1
    logs.set_up(config.settings.log_level, config.settings.log_format)
    asyncio.run(_serve(hooks, config))
    return 0


def _read(path: str) -> tuple[Hooks, Config]:
    source = Source.read(path)
    if "ksr" not in source.plugins:
        raise ConfigError([f"{path}: plugins: must name ksr, and the plugin that has the store: [datastore, ksr]"])
    try:
        hooks = Hooks(load(source.plugins))
    except PluginError as error:
        raise ConfigError([f"{path}: plugins: {error}"]) from error
    sections = [section for _, section in hooks.contributions("config_section")]
    return hooks, source.check(sections, installed=installed())


@asynccontextmanager
async def cluster_store(hooks: Hooks, config: Config) -> AsyncIterator[KVStore]:
    """Open the store of the first plugin that has one; raise ContivError."""
    async with _stores(hooks, config)[0] as store:
        yield store


def _stores(hooks: Hooks, config: Config) -> list[AbstractAsyncContextManager[KVStore]]:
    found = [store for _, store in hooks.contributions("cluster_store", config=config)]
    if not found:
        raise ContivError("no enabled plugin has a store of the cluster: add datastore to 'plugins', with a driver")
    return found


async def _serve(hooks: Hooks, config: Config) -> None:
    from contivpp_ksr.process import KsrProcess  # noqa: PLC0415 (the agent has no use for it)

    async with cluster_store(hooks, config) as store:
        process = KsrProcess(config.section("ksr", KsrConfig), store, node_name=config.settings.node_name)
        await process.run_until_signal()


async def _ask(config: KsrConfig) -> Any:
    import aiohttp  # noqa: PLC0415 (a fifth of a second that --check and --help do not need)

    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(config.socket))) as session,
            session.get("http://ksr/v1/ksr", timeout=aiohttp.ClientTimeout(total=10)) as answer,
        ):
            return await answer.json()
    except (aiohttp.ClientError, OSError) as error:
        raise ContivError(f"{config.socket}: no contivpp ksr answers: {error}") from error


def _table(found: Any) -> str:
    lines = [
        f"{found['name']}: {'ready' if found['ready'] else found['reason']}",
        f"store: {found['store']}; {found['due']} keys wait to be written",
        "",
    ]
    columns = ("connected", "complete", "lists", "events", "adds", "updates", "deletes", "malformedTotal")
    rows = [("KIND", *(name.removesuffix("Total").upper() for name in columns))]
    for kind, one in found["kinds"].items():
        cells = [one[name] for name in columns]
        rows.append((kind, *("yes" if cell is True else "no" if cell is False else str(cell) for cell in cells)))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for kind, one in found["kinds"].items():
        lines += [f"{kind} {each['key']} cannot be read: {each['reason']}" for each in one["malformed"]]
    lines += [f"{key} is too large for the store: {reason}" for key, reason in found["refused"].items()]
    return "\n".join(lines)


KSR = Command(
    "ksr",
    "reflect the Kubernetes API server into the cluster's store",
    _run,
    _configure,
    (
        ("contivpp ksr --config ksr.yaml", "run in the foreground, until SIGTERM or Ctrl-C"),
        ("contivpp ksr --config ksr.yaml --check", "only tell every fault of the configuration"),
        ("contivpp ksr --config ksr.yaml --status", "how the running one stands; exit code 1: not ready"),
        ("contivpp ksr --config ksr.yaml --status -o json", "the same with everything, for programs"),
    ),
)
