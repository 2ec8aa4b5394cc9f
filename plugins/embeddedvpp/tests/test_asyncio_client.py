# SPDX-License-Identifier: Apache-2.0
"""vpp_papi's asyncio client, unchanged. (Events end its reader, with real VPP, too: they have no context.)"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from embeddedvpp.api import Vpp
from embeddedvpp.server import Server

LABEL = {"is_uniform": 0, "label": 0, "ttl": 0, "exp": 0}


@pytest.mark.filterwarnings("ignore:open_text is deprecated:DeprecationWarning")
async def test_asyncio_client_of_vpp_papi(tmp_path: Path) -> None:
    from vpp_papi.vpp_papi_async import VPPApiClient

    path = str(tmp_path / "api.sock")
    async with Server(Vpp(), api_socket=path), asyncio.timeout(20):
        client = VPPApiClient(server_address=path)
        assert await client.connect("asyncio", asyncio.Queue()) == 0
        await use(client.api)
        assert (await client.disconnect()).response == 1
        await asyncio.sleep(0)


async def use(api: Any) -> None:
    index = (await api.create_loopback()).sw_if_index
    assert index == 1
    path = {"sw_if_index": index, "weight": 1, "n_labels": 0, "label_stack": [LABEL] * 16}
    replies = await asyncio.gather(
        api.sw_interface_set_flags(sw_if_index=index, flags=1),
        api.sw_interface_add_del_address(sw_if_index=index, is_add=True, prefix="10.91.0.1/24"),
        *(
            api.ip_route_add_del(
                is_add=True, route={"prefix": f"10.92.{number}.0/24", "n_paths": 1, "paths": [path]}
            )
            for number in range(200)
        ),
    )
    assert {reply.retval for reply in replies} == {0}
    assert (await api.show_version()).version == Vpp.version
    assert (await api.sw_interface_set_flags(sw_if_index=99, flags=1)).retval == -2
    _, interfaces = await api.sw_interface_dump()
    assert [found.interface_name for found in interfaces] == ["local0", "loop0"]
    _, routes = await api.ip_route_dump(table={"table_id": 0, "is_ip6": False, "name": ""})
    assert len(routes) == 5 + 4 + 200
