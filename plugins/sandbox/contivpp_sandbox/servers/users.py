# SPDX-License-Identifier: Apache-2.0
"""Gives an etcd its users: a program, because etcd is in the sandbox's namespaces.

    python -m contivpp_sandbox.servers.users PID < REQUEST

It enters the namespaces of the keeper (PID), waits until etcd answers, at most `seconds`, has it ask everybody who they
are, and grants `agents` (names of nodes) and `reflectors` their rights. etcd knows its clients by the common names of
their certificates; they have no passwords. On stdout: `{"done": true}` or `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contivpp_core.errors import ContivError
from contivpp_sandbox.sandbox.namespaces import POD, enter

__all__ = ["main"]

_PAUSE_SECONDS = 0.1


async def work(request: Mapping[str, Any]) -> None:
    """Carry out a request; raise ContivError."""
    from contivpp_datastore.etcd.access import agent_rights, enable, grant, reflector_rights  # noqa: PLC0415
    from contivpp_datastore.etcd.client import EtcdStore  # noqa: PLC0415 (grpc's threads must not be there before)
    from contivpp_datastore.etcd.options import EtcdOptions  # noqa: PLC0415

    ca, certificate, key = (Path(request[name]) for name in ("ca", "certificate", "key"))
    store = EtcdStore(EtcdOptions(endpoints=(request["endpoint"],), ca=ca, certificate=certificate, key=key))
    end = asyncio.get_running_loop().time() + request["seconds"]
    users = {name: agent_rights(name) for name in request["agents"]}
    users |= {name: reflector_rights() for name in request["reflectors"]}
    try:
        while True:
            try:
                if request["enable"]:
                    await enable(store)
                for name, rights in users.items():
                    await grant(store, name, None, rights)
                return
            except ContivError:
                if asyncio.get_running_loop().time() > end:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        await store.close()


def main() -> int:
    """Carry out what stdin says."""
    request = json.load(sys.stdin)
    answer: dict[str, Any] = {"done": True}
    try:
        enter(int(sys.argv[1]), POD)
        asyncio.run(work(request))
    except ContivError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0 if "done" in answer else 1


if __name__ == "__main__":
    sys.exit(main())
