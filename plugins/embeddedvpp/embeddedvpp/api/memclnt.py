# SPDX-License-Identifier: Apache-2.0
"""Hand-shake and housekeeping of a client.

``memclnt_keepalive`` is in the table and not answered: on a socket VPP does not answer it either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..wire.codec import types
from ..wire.declarations import load
from ..wire.definitions_json import all_modules
from .errors import INVALID_VALUE
from .vpp import HANDLE_BIT

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]


def sockclnt_create(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Name the client and hand out the message table."""
    session.name = request.name
    entry = types()["message_table_entry"]
    table = [entry(number, name) for name, number in sorted(vpp.messages.ids.items(), key=lambda item: item[1])]
    return {"response": 0, "index": session.handle, "message_table": table}


def sockclnt_delete(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The client says good-bye; the session closes after the reply."""
    known = HANDLE_BIT | (request.index & ~HANDLE_BIT) in vpp.sessions
    return {"response": 1 if known else -1}


def get_first_msg_id(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The first id of a module that is named with its CRC."""
    first = vpp.messages.first.get(request.name)
    return {"retval": INVALID_VALUE, "first_msg_id": 0xFFFF} if first is None else {"first_msg_id": first}


def api_versions(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Every module with its version."""
    entry = types()["module_version"]
    modules = load().values()
    return {"api_versions": [entry(*map(int, m.version.split(".")), f"{m.name}.api") for m in modules]}


def control_ping(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Ends a dump for the client; in VPP, too, the reply's client index is zero on sockets."""
    return {"vpe_pid": vpp.pid}


def get_api_json(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Our declarations in VPP's layout."""
    return {"json": all_modules()}


HANDLERS = {
    found.__name__: found
    for found in (
        sockclnt_create, sockclnt_delete, get_first_msg_id, api_versions, control_ping, get_api_json
    )
}  # fmt: skip
