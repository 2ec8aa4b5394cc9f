# SPDX-License-Identifier: Apache-2.0
"""The contiv plugin: connects this node and its pods to VPP, and serves CNI."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import ClassVar

from contivpp_contiv.altered import AlteredLinks, LostRenderer
from contivpp_contiv.attachments import Attachments, at_start
from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.garbage import valid_attachments
from contivpp_contiv.cni.log import CniLog, facts
from contivpp_contiv.cni.request import parse_request, version_of
from contivpp_contiv.cni.result import add_result, error_result, previous_result
from contivpp_contiv.cni.server import CniServer
from contivpp_contiv.config import ContivConfig
from contivpp_contiv.contest import ContestRenderer
from contivpp_contiv.mesh import OverlayRenderer, PeerRenderer, PeersRenderer
from contivpp_contiv.node import (
    GatewayRenderer,
    HostAddressRenderer,
    HostLinkRenderer,
    HostRouteRenderer,
    OwnNodeRenderer,
    UplinkRenderer,
)
from contivpp_contiv.pods import PodRenderer
from contivpp_contiv.records import CONTAINER_RUNTIME, LOCAL_POD, TABLES, LocalPod, attachment_key
from contivpp_contiv.registry import Registry, planned_records
from contivpp_contiv.runtime.strangers import RuntimeRenderer
from contivpp_contiv.runtime.watch import Connect, RuntimeWatch, connect
from contivpp_core.agent import Agent
from contivpp_core.config import ConfigSection
from contivpp_core.errors import RequestError
from contivpp_core.events import PodWired
from contivpp_core.ledger import LedgerError
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable
from contivpp_core.renderers import Renderer
from contivpp_core.state import Put, Ready, State, Write

__all__ = ["ContivPlugin", "plugin"]

log = logging.getLogger(__name__)

CNI_LOG = "cni.log"
UNPLANNED = ("cniSocket", "cniLogBytes", "runtimeSocket", "runtimeCheckSeconds", "runtimeGraceSeconds")


class ContivPlugin(Plugin):
    """Node and pod wiring. `serve` False opens no socket: a rig calls `serve_cni` itself.

    Without `runtime` the container runtime is asked only by a plugin that serves.
    """

    name: ClassVar[str] = "contiv"
    requires: ClassVar[tuple[str, ...]] = ("vpp", "linux")

    def __init__(self, *, serve: bool = True, runtime: Connect | None = None) -> None:
        self._serve = serve
        self._connect = connect if serve and runtime is None else runtime
        self._watch: RuntimeWatch | None = None
        self._attachments: Attachments | None = None
        self._altered: AlteredLinks | None = None
        self._registry: Registry | None = None
        self._vpp_was_there = False
        self._server: CniServer | None = None
        self._log: CniLog | None = None

    # --- contributions

    @hookimpl
    def config_section(self) -> ConfigSection:
        """Contribute the section `contiv`."""
        return ConfigSection("contiv", ContivConfig, unplanned=UNPLANNED)

    @hookimpl
    def tables(self) -> list[AnyTable]:
        """Contribute the tables of pods' interfaces, and of what connects the node."""
        return list(TABLES)

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        """Contribute the renderers of the node, of its pods, and of the ways to other nodes."""
        config, name = _config(agent), agent.node_name
        return [
            GatewayRenderer(config),
            UplinkRenderer(config),
            HostLinkRenderer(config),
            HostAddressRenderer(name),
            HostRouteRenderer(name),
            OwnNodeRenderer(),
            ContestRenderer(configured=config.node_id is not None),
            PeersRenderer(name, config),
            OverlayRenderer(config),
            PeerRenderer(name, config),
            PodRenderer(),
            LostRenderer(),
            RuntimeRenderer(),
        ]

    @hookimpl
    def planned_start(self, agent: Agent, state: State) -> list[Write]:
        """Contribute to plans: MTUs of pods, the node's ID, and its link to the host."""
        config = _config(agent)
        pods: list[LocalPod] = state.table(LOCAL_POD.name).records()
        return [*(Put(LOCAL_POD.name, at_start(pod, config)) for pod in pods), *planned_records(agent, config)]

    # --- life

    async def start(self, agent: Agent) -> None:
        """Tell who this node is, take over the pods of the ledger, and open the CNI socket."""
        config = _config(agent)
        self._registry = Registry(agent, config)
        await self._registry.start()
        if self._vpp_was_there:
            self._registry.choose_host_link()
        self._altered = AlteredLinks(agent)
        await self._altered.start()
        self._attachments = Attachments(agent, config)
        await self._attachments.start()
        await agent.controller.write("container runtime", [Ready(CONTAINER_RUNTIME.name)])
        if self._connect is not None:
            self._watch = RuntimeWatch(agent, config, self._attachments, connect=self._connect)
            await self._watch.start()
        if self._serve:
            if config.cni_log_bytes:
                self._log = CniLog(agent.config.settings.run_dir / CNI_LOG, config.cni_log_bytes)
            self._server = CniServer(config.cni_socket, self.serve_cni)
            await self._server.start()

    async def stop(self) -> None:
        """Close the CNI socket; pods stay connected."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
        if self._watch is not None:
            await self._watch.stop()
        if self._attachments is not None:
            await self._attachments.stop()
        if self._altered is not None:
            await self._altered.stop()
        if self._registry is not None:
            await self._registry.stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    @hookimpl
    def vpp_connected(self) -> None:
        """VPP may be another one: see how it can be linked with the host."""
        self._vpp_was_there = True
        if self._registry is not None:
            self._registry.choose_host_link()

    @hookimpl
    def pod_wired(self, event: PodWired) -> None:
        """An ADD is done, and the rest of its chain begins."""
        if self._altered is not None:
            self._altered.wired(attachment_key(event.container_id, event.interface))

    # --- CNI

    async def serve_cni(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """Serve one CNI call; return its exit code and what it prints."""
        begin = time.monotonic()
        try:
            code, answer = 0, await self._answer(environment, stdin)
        except RequestError as error:
            log.warning("CNI call failed", extra={**facts(environment), "code": error.code, "error": str(error)})
            code, answer = 1, error_result(error, version_of(stdin))
        except LedgerError as error:
            log.error("CNI call failed", extra={**facts(environment), "error": str(error)})
            code, answer = 1, error_result(RequestError(str(error), code=ErrorCode.IO_FAILURE), version_of(stdin))
        except Exception as error:  # whatever goes wrong, the runtime gets an answer that it can read
            log.exception("CNI call failed", extra=facts(environment))
            unexpected = RequestError(
                f"unexpected {type(error).__name__}: {str(error)!a}: see the agent's log",
                code=ErrorCode.INTERNAL,
            )
            code, answer = 1, error_result(unexpected, version_of(stdin))
        if self._log is not None:
            self._log.write(environment, code, answer, time.monotonic() - begin)
        return code, answer

    async def _answer(self, environment: Mapping[str, str], stdin: bytes) -> bytes:
        request = parse_request(environment, stdin)
        assert self._attachments is not None
        match request.command:
            case "ADD":
                previous = previous_result(request)
                return add_result(await self._attachments.add(request, previous), previous, request)
            case "DEL":
                await self._attachments.delete(request)
            case "CHECK":
                await self._attachments.check(request)
            case "GC":
                await self._attachments.collect(request.network, valid_attachments(request))
            case "STATUS":
                await self._attachments.check_status()
        return b""


def _config(agent: Agent) -> ContivConfig:
    return agent.config.section("contiv", ContivConfig)


def plugin() -> ContivPlugin:
    """Return the plugin; its entry point calls this."""
    return ContivPlugin()
