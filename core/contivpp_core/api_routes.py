# SPDX-License-Identifier: Apache-2.0
"""The core's own routes of the local API: what the agent knows, for people and tools. All of them only read, a plan
as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from contivpp_core import exposition
from contivpp_core.api import ApiError, ApiRoute, Request, Response
from contivpp_core.plan import Planner

if TYPE_CHECKING:
    from contivpp_core.agent import Agent
    from contivpp_core.scheduler import ItemStatus

__all__ = ["core_routes", "health_routes"]


def health_routes(agent: Agent) -> list[ApiRoute]:
    """Return the routes for probes and for Prometheus; they only read."""

    def healthz(request: Request) -> Any:
        return {"ok": True}

    def readyz(request: Request) -> Any:
        detail = {name: {"ok": state.ok, "reason": state.reason} for name, state in agent.readiness().items()}
        return Response(200 if agent.ready else 503, {"ready": agent.ready, "conditions": detail})

    def metrics(request: Request) -> Any:
        return Response(200, exposition.text(agent.metrics), exposition.CONTENT_TYPE)

    return [
        ApiRoute("GET", "/healthz", healthz, "The agent's loop runs."),
        ApiRoute("GET", "/readyz", readyz, "200 when every condition holds, else 503; each with its reason."),
        ApiRoute("GET", "/metrics", metrics, "All metrics, in Prometheus' text format."),
    ]


def core_routes(agent: Agent) -> list[ApiRoute]:
    """Return all routes of the core."""
    views = _Views(agent)
    return [
        *health_routes(agent),
        ApiRoute("GET", "/v1/status", views.status, "The agent at a glance."),
        ApiRoute("GET", "/v1/items", views.items, "Items; filters: kind, state, prefix (of the key)."),
        ApiRoute(
            "GET", "/v1/tables", views.tables, "The tables, with their size and whether they are ready."
        ),
        ApiRoute("GET", "/v1/tables/{name}", views.table, "One table's records; standing: and how their items stand."),
        ApiRoute("GET", "/v1/history", views.history, "The journal; limit, since (a revision)."),
        ApiRoute("GET", "/v1/drift", views.drift, "What the checks for drift found, kind by kind."),
        ApiRoute("GET", "/v1/plugins", views.plugins, "The plugins, in the order of what they require."),
        ApiRoute("POST", "/v1/plan", views.plan, "What would change, by another configuration or other objects."),
    ]


class _Views:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._planner = Planner(agent)

    def status(self, request: Request) -> Any:
        agent = self._agent
        return {
            "node": agent.config.settings.node_name,
            "ready": agent.ready,
            "conditions": {name: {"ok": c.ok, "reason": c.reason} for name, c in agent.readiness().items()},
            "revision": agent.state.revision,
            "items": agent.scheduler.counts(),
            "notApplied": agent.scheduler.not_applied(),
            "operations": msgspec.to_builtins(agent.scheduler.counters),
            "failedRenderers": {str(owner): error for owner, error in agent.engine.failures.items()},
            "droppedEvents": agent.hooks.dropped(),
            "leftovers": agent.census.leftovers() if agent.census is not None else {},
            "uptimeSeconds": agent.uptime(),
        }

    def items(self, request: Request) -> Any:
        known = {"kind", "state", "prefix"}
        if unknown := sorted(request.query.keys() - known):
            raise ApiError(f"unknown filter {unknown[0]}: known are {', '.join(sorted(known))}")
        kinds = {kind for kind in request.query.get("kind", "").split(",") if kind}
        state, prefix = request.query.get("state", ""), request.query.get("prefix", "")
        return [
            item
            for item in self._agent.scheduler.items()
            if (not kinds or item.kind in kinds)
            and (not state or item.state == state)
            and item.key.startswith(prefix)
        ]

    def tables(self, request: Request) -> Any:
        return [
            {"name": r.table.name, "records": len(r), "ready": r.ready, "stale": r.stale, "derived": r.table.derived}
            for r in self._agent.state.tables()
        ]

    def table(self, request: Request) -> Any:
        name = request.parameters["name"]
        if name not in self._agent.state:
            known = ", ".join(rows.table.name for rows in self._agent.state.tables())
            raise ApiError(f"no table is named {name}: known are {known}", status=404)
        rows = self._agent.state.table(name)
        records = [{"key": rows.table.key(r), **msgspec.structs.asdict(r)} for r in rows.records()]
        if "standing" in request.query:
            standing = self._standing(name)
            records = [{**record, **standing(record["key"])} for record in records]
        return {"name": name, "ready": rows.ready, "records": records}

    def _standing(self, table: str) -> Callable[[str], dict[str, str]]:
        """Return a function that tells how a record stands: as the first of its items that is not applied."""
        owned: dict[str, list[ItemStatus]] = {}
        for item in self._agent.scheduler.items():
            for owner in item.owners:
                owned.setdefault(owner, []).append(item)

        def standing(key: str) -> dict[str, str]:
            owners = self._agent.engine.descendants(table, key)
            items = [item for owner in sorted(owners) for item in owned.get(str(owner), ())]
            for owner in sorted(owners):
                if owner in self._agent.engine.failures:
                    return {"state": "failed", "reason": f"{owner}: {self._agent.engine.failures[owner]}"}
            for item in items:
                if item.state != "applied":
                    return {"state": item.state, "reason": f"{item.key}: {item.reason}"}
            return {"state": "applied" if items else "not rendered", "reason": ""}

        return standing

    def history(self, request: Request) -> Any:
        return self._agent.journal.entries(_number(request, "limit"), _number(request, "since"))

    def drift(self, request: Request) -> Any:
        return self._agent.drift.report()

    def plugins(self, request: Request) -> Any:
        return [
            {
                "name": entry.name,
                "distribution": entry.distribution,
                "version": entry.version,
                "requires": entry.plugin.requires,
            }
            for entry in self._agent.hooks.plugins
        ]

    async def plan(self, request: Request) -> Any:
        return await self._planner.plan(request.body)


def _number(request: Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise ApiError(f"{name}={value}: must be a whole number")
    return int(value)
