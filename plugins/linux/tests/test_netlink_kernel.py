# SPDX-License-Identifier: Apache-2.0
"""What only the real kernel can show: paths that are no namespaces, nothing left open, a loop that is not
stopped.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from contivpp_linux.kernel.errors import NamespaceGone, NotANamespace
from contivpp_linux.kernel.operations import CreateVeth, SetLink
from contivpp_linux.kernel.protocol import raise_errors

pytestmark = [pytest.mark.netns, pytest.mark.parametrize("rig", ["netlink"], indirect=True)]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/proc/self/ns/net/x", NamespaceGone),
        ("/proc/999999999/ns/net", NamespaceGone),
        ("/proc/self/ns/uts", NotANamespace),
        ("/proc/self/status", NotANamespace),
        ("/proc", NotANamespace),
    ],
)
async def test_paths_that_are_no_network_namespace(rig, path, error):
    with pytest.raises(error, match=path):
        await rig.kernel.links(path)


async def test_named_pipe_does_not_stop_a_thread(rig):
    os.mkfifo(f"{rig.folder}/pipe")
    with pytest.raises(NotANamespace):
        await asyncio.wait_for(rig.kernel.links(f"{rig.folder}/pipe"), 5)


async def test_process_path_is_a_namespace_too(rig):
    path = f"/proc/{os.getpid()}/ns/net"
    assert (await rig.kernel.identify(path)).inode == os.stat(path).st_ino
    assert await rig.kernel.links(path) == await rig.kernel.links("")


async def test_nothing_stays_open_and_nobody_stays_inside(rig):
    paths = [rig.namespace() for _ in range(3)]
    await rig.kernel.links("")
    before = sorted(os.listdir("/proc/self/fd"))
    for path in paths:
        await rig.kernel.apply(path, [SetLink(link="nope", up=True), CreateVeth("a", "b", "/nowhere")])
        with pytest.raises(NotANamespace):
            await rig.kernel.links("/proc/self/status")
    assert sorted(os.listdir("/proc/self/fd")) == before
    inside = {os.stat(f"/proc/self/task/{task}/ns/net").st_ino for task in os.listdir("/proc/self/task")}
    assert inside == {os.stat("/proc/self/ns/net").st_ino}


async def test_many_namespaces_at_once(rig):
    paths = [rig.namespace() for _ in range(20)]
    made = await asyncio.gather(*(rig.kernel.apply(path, [CreateVeth("a", "b")]) for path in paths))
    for results in made:
        raise_errors(results)
    listed = await asyncio.gather(*(rig.kernel.links(path) for path in paths))
    assert {tuple(link.name for link in links) for links in listed} == {("lo", "b", "a")}


async def test_more_operations_than_one_datagram_takes(rig):
    path = rig.namespace()
    results = await rig.kernel.apply(path, [SetLink(link="lo", alias=str(number)) for number in range(500)])
    raise_errors(results)
    assert (await rig.kernel.links(path))[0].alias == "499"
