# SPDX-License-Identifier: Apache-2.0
"""Forwarding tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..wire.codec import types

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF


def ip_table_add_del(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Always answers 0: table 0 is ignored, and a table in use stays."""
    table = request.table
    version = 6 if table.is_ip6 else 4
    if not request.is_add:
        vpp.dataplane.delete_table(table.table_id, version=version)
    elif table.table_id:
        vpp.dataplane.fibs.add(table.table_id, version=version, name=table.name)


def ip_table_allocate(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Create a table with a given or a free number."""
    version, wanted = (6 if request.table.is_ip6 else 4), request.table.table_id
    fibs, name = vpp.dataplane.fibs, request.table.name
    if wanted == UNSET:
        wanted = fibs.allocate(version=version, name=name).table_id
    elif wanted:
        fibs.add(wanted, version=version, name=name)
    return {"table": types()["ip_table"](wanted, request.table.is_ip6, name)}


def ip_table_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """IPv4 tables first."""
    tables = sorted(vpp.dataplane.fibs, key=lambda table: (table.version, table.index))
    make = types()["ip_table"]
    return ({"table": make(found.table_id, found.version == 6, found.name)} for found in tables)


HANDLERS = {
    "ip_table_add_del": ip_table_add_del,
    "ip_table_add_del_v2": ip_table_add_del,
    "ip_table_allocate": ip_table_allocate,
    "ip_table_dump": ip_table_dump,
}
