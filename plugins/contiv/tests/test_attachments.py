# SPDX-License-Identifier: Apache-2.0
"""ADD, DEL and CHECK: every fault leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from contivpp_core.clock import run_simulated
from contivpp_core.kubernetes import POD, Pod
from contivpp_core.ledger import LedgerError
from contivpp_core.state import Put

from .nodes import Node, address, simulated


@simulated
async def test_a_pod_is_connected_and_disconnected() -> None:
    node = Node()
    await node.start()
    result = await node.cni("ADD", 1)
    assert address(result) == "10.1.1.2/32"
    assert result["interfaces"][0]["sandbox"] == "/netns/1"
    assert any(key.startswith("vpp/tap/") for key in node.pod_keys())
    assert await node.cni("ADD", 1) == result
    assert await node.cni("CHECK", 1) == {}
    assert await node.cni("DEL", 1) == {}
    assert await node.cni("DEL", 1) == {}
    node.assert_nothing_left()
    assert (await node.cni("CHECK", 1))["code"] == 3
    assert address(await node.cni("ADD", 2)) == "10.1.1.3/32"  # round robin: not the address that was just freed
    await node.kill()


@simulated
async def test_without_taps_pods_get_af_packet_and_keep_it() -> None:
    node = Node()
    node.world.taps = False
    await node.start()
    await node.cni("ADD", 1)
    node.world.taps = True
    await node.kill()
    node.world.writes = 0
    await node.start()
    await node.agent.controller.settled()
    assert node.world.writes == 0
    assert any(key.startswith("vpp/afpacket/") for key in node.pod_keys())
    await node.cni("DEL", 1)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_a_late_delete_of_an_old_sandbox_leaves_the_new_one_alone() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1, container="old")
    new = await node.cni("ADD", 1, container="new", netns="/netns/2")
    assert address(new) == "10.1.1.3/32"
    await node.cni("DEL", 1, container="old")
    assert await node.cni("CHECK", 1, container="new", netns="/netns/2") == {}
    await node.kill()


@simulated
async def test_a_container_id_in_another_namespace_is_another_attachment() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    node.world.namespaces["/netns/1"] = 777  # the path is bound to another namespace
    assert address(await node.cni("ADD", 1)) == "10.1.1.3/32"
    await node.cni("DEL", 1)
    node.assert_nothing_left()
    await node.kill()


@pytest.mark.parametrize("refuse", ["vpp/tap", "vpp/route", "linux/address", "vpp/link-up/pod"])
def test_a_refused_item_is_named_and_nothing_stays(refuse: str) -> None:
    async def main() -> None:
        node = Node()
        await node.start()
        node.world.refuse = refuse
        result = await node.cni("ADD", 1)
        assert "pod default/p1 cannot be connected" in result["msg"]
        assert refuse in result["msg"]
        cause = node.agent.journal.entries(1)[0].cause
        assert cause.startswith("CNI ADD default/p1 taken back: ")
        assert refuse in cause
        node.assert_nothing_left()
        await node.kill()

    run_simulated(main())


@simulated
async def test_an_add_that_takes_too_long_is_taken_back() -> None:
    node = Node()
    await node.start()
    node.world.block = "linux/route"
    result = await node.cni("ADD", 1)
    assert result["code"] == 11
    assert "not done within" in result["msg"]
    node.world.block = ""
    await node.kill()
    await node.start()  # what hung is unknown; the restarted agent reads it back and finishes the tombstone
    await node.agent.controller.settled()
    await asyncio.sleep(5)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_a_delete_in_the_middle_of_an_add_ends_it() -> None:
    node = Node()
    await node.start()
    node.world.refuse = ""
    node.world.block = "vpp/mtu"
    adding = asyncio.create_task(node.cni("ADD", 1))
    await asyncio.sleep(1)
    node.world.block = ""
    deleted = await node.cni("DEL", 1)
    added = await adding
    assert deleted == {}
    assert added["code"] == 11
    assert "broken off" in added["msg"]
    assert node.ledger.items("contiv.pod") == {}
    await node.kill()


@simulated
async def test_an_unknown_namespace_is_named() -> None:
    node = Node()
    await node.start()
    result = await node.cni("ADD", 1, netns="/netns/none")
    assert result["code"] == 4
    assert "CNI_NETNS: open network namespace in /netns/none: ENOENT" in result["msg"]
    assert "let the agent see the runtime's folder of namespaces" in result["details"]
    node.assert_nothing_left()
    assert await node.cni("DEL", 1, netns="/netns/none") == {}
    await node.kill()


@simulated
async def test_without_vpp_an_add_waits_for_its_deadline_and_a_delete_does_not() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    node.agent.scheduler.domain_down("vpp", "VPP is away")
    loop = asyncio.get_running_loop()
    begin = loop.time()
    result = await node.cni("ADD", 2)
    assert (result["code"], loop.time() - begin) == (11, pytest.approx(20, abs=1))
    assert "VPP is away" in result["msg"]
    begin = loop.time()
    assert await node.cni("DEL", 1) == {}
    assert loop.time() - begin < 1
    assert set(node.ledger.items("contiv.tombstone")) == {"c1/eth0"}
    assert "address/c1/eth0" in node.ledger.items("ipam")  # its items may still be in VPP: the address is kept
    await node.agent.scheduler.domain_up("vpp", "1")
    await asyncio.sleep(1)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_the_subnet_is_used_up_and_used_again() -> None:
    node = Node(prefix=28)
    await node.start()
    results = await asyncio.gather(*(node.cni("ADD", n) for n in range(1, 15)))
    connected = [result for result in results if "ips" in result]
    refused = [result for result in results if "code" in result]
    assert len({address(result) for result in connected}) == len(connected) == 12
    assert {result["code"] for result in refused} == {11}
    assert "no free address in 10.1.0.16/28" in refused[0]["msg"]
    await asyncio.gather(*(node.cni("DEL", n) for n in range(1, 15)))
    node.assert_nothing_left()
    assert "ips" in await node.cni("ADD", 1)
    await node.kill()


@simulated
async def test_the_annotation_asks_for_an_address() -> None:
    node = Node()
    await node.start()
    pods = {5: "10.1.1.77", 6: "10.1.1.77", 7: "10.9.9.9", 8: "nonsense"}
    for number, wanted in pods.items():
        pod = Pod(namespace="default", name=f"p{number}", annotations=(("contivpp.io/ip", wanted),))
        await node.agent.controller.write("test", [Put(POD.name, pod)])
    assert address(await node.cni("ADD", 5)) == "10.1.1.77/32"
    assert "in use by c5/eth0" in (await node.cni("ADD", 6))["msg"]
    assert "outside this node's subnet" in (await node.cni("ADD", 7))["msg"]
    assert "is not an IP address" in (await node.cni("ADD", 8))["msg"]
    result = await node.cni("ADD", 999, netns="/netns/1")
    assert (result["code"], "not known yet" in result["msg"]) == (11, True)
    await node.kill()


@simulated
async def test_a_restarted_agent_writes_nothing_and_goes_on() -> None:
    node = Node()
    await node.start()
    results = await asyncio.gather(*(node.cni("ADD", n) for n in range(1, 30)))
    await node.kill()
    node.world.writes = 0
    await node.start()
    await node.agent.controller.settled()
    assert node.world.writes == 0
    assert await node.cni("ADD", 1) == results[0]
    await asyncio.gather(*(node.cni("DEL", n) for n in range(1, 30)))
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_an_agent_killed_with_tombstones_finishes_them_later() -> None:
    node = Node()
    await node.start()
    await asyncio.gather(*(node.cni("ADD", n) for n in range(1, 6)))
    node.agent.scheduler.domain_down("vpp", "VPP is away")
    await asyncio.gather(*(node.cni("DEL", n) for n in range(1, 6)))
    await node.kill()
    assert node.pod_keys() != []
    await node.start()
    await node.agent.controller.settled()
    await asyncio.sleep(1)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_more_af_packet_pods_than_vpp_stands_are_refused() -> None:
    node = Node()
    node.world.taps = False
    await node.start()
    results = await asyncio.gather(*(node.cni("ADD", n) for n in range(1, 21)))
    refused = [result for result in results if "code" in result]
    assert len(refused) == 7
    assert {result["code"] for result in refused} == {11}
    assert "VPP 26.06 hangs" in refused[0]["msg"]
    await node.kill()
    await node.start()
    assert (await node.cni("ADD", 30))["code"] == 11  # a restarted agent counts on
    connected = next(n for n, result in enumerate(results, 1) if "ips" in result)
    await node.cni("DEL", connected)
    assert "ips" in await node.cni("ADD", 30)
    await node.kill()


@simulated
async def test_a_check_without_vpp_is_to_be_tried_again() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    node.agent.scheduler.domain_down("vpp", "VPP is away")
    result = await node.cni("CHECK", 1)
    assert (result["code"], "VPP is away" in result["msg"]) == (11, True)
    await node.kill()


@simulated
async def test_status_says_why_pods_cannot_be_connected() -> None:
    node = Node(vpp_up=False)
    await node.start()
    result = await node.cni("STATUS", 0)
    assert result["code"] == 51
    assert "vpp has not been read yet" in result["msg"]
    await node.agent.scheduler.domain_up("vpp", "1")
    assert await node.cni("STATUS", 0) == {}
    await node.kill()


@simulated
async def test_an_add_waits_also_where_a_dataplane_is_read_once_more() -> None:
    node = Node(vpp_up=False)
    await node.start()
    adding = asyncio.create_task(node.cni("ADD", 1))
    await asyncio.sleep(1)
    scheduler = node.agent.scheduler
    await scheduler.domain_up("vpp", "1")
    scheduler.domain_down("linux", "linux is being read")  # at once, before the waiting ADD has had its turn
    await asyncio.sleep(1)
    assert not adding.done()
    await scheduler.domain_up("linux", "1")
    assert address(await adding) == "10.1.1.2/32"
    await node.kill()


@simulated
async def test_a_ledger_that_cannot_be_written_is_told_and_nothing_stays() -> None:
    node = Node()
    await node.start()

    async def full(*writes: Any) -> None:
        raise LedgerError("ledger.db: the disk is full: check that it has room")

    vars(node.ledger)["commit"] = full
    result = await node.cni("ADD", 1)
    assert (result["code"], result["msg"]) == (5, "ledger.db: the disk is full: check that it has room")
    del vars(node.ledger)["commit"]
    node.assert_nothing_left()
    assert address(await node.cni("ADD", 2)) == "10.1.1.3/32"
    await node.kill()


@simulated
async def test_an_address_is_free_only_when_that_is_stored() -> None:
    node = Node(prefix=29)  # four addresses
    await node.start()
    for number in range(1, 5):
        assert "ips" in await node.cni("ADD", number)
    commit = node.ledger.commit

    async def full(*writes: Any) -> None:
        if any(write.space == "contiv.tombstone" and write.value is None for write in writes):
            raise LedgerError("the disk is full")
        await commit(*writes)

    node.ledger.commit = full  # type: ignore[method-assign]
    await node.cni("DEL", 1)
    assert "no free address" in (await node.cni("ADD", 5))["msg"]
    node.ledger.commit = commit  # type: ignore[method-assign]
    await asyncio.sleep(30)
    assert node.ledger.items("contiv.tombstone") == {}
    assert address(await node.cni("ADD", 5)) == "10.1.0.10/32"
    for number in range(2, 6):
        await node.cni("DEL", number)
    node.assert_nothing_left()
    await node.kill()


@simulated
async def test_the_same_attachment_waits_until_its_former_self_is_buried() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    blocked = asyncio.Event()
    descriptor = node.agent.scheduler.descriptors["vpp/tap"]
    delete = descriptor.delete

    async def slow(item: Any, handle: Any, handles: Mapping[str, Any]) -> None:
        await blocked.wait()
        await delete(item, handle, handles)

    descriptor.delete = slow  # type: ignore[method-assign]
    await node.cni("DEL", 1)
    again = await node.cni("ADD", 1)
    assert again["code"] == 11
    assert "still being taken down" in again["msg"]
    blocked.set()
    await asyncio.sleep(10)
    node.assert_nothing_left()
    assert address(await node.cni("ADD", 1)) == "10.1.1.3/32"
    await node.kill()


@simulated
async def test_a_delete_that_comes_while_another_hands_over_to_an_add_waits_for_it() -> None:
    node = Node()
    await node.start()
    await node.cni("ADD", 1)
    first = asyncio.create_task(node.cni("DEL", 1))
    await asyncio.sleep(0)
    again = asyncio.create_task(node.cni("ADD", 1))
    await first
    await asyncio.gather(*(node.cni("DEL", 1) for _ in range(3)), again)
    await node.cni("DEL", 1)
    await asyncio.sleep(5)
    node.assert_nothing_left()
    assert not node.contiv._attachments._locks  # type: ignore[union-attr]
    await node.kill()
