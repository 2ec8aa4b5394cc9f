# SPDX-License-Identifier: Apache-2.0
"""What a rig does with the kernel in memory: plugged links, and frames."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contivpp_linux.kernel.errors import KernelError, NamespaceGone
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.operations import Add, CreateVeth, Delete, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Route

MAC = "02:00:00:00:00:01"


async def test_plugged_link_carries_frames_while_up():
    kernel = MemoryKernel()
    kernel.create_namespace("/pod")
    sent: list[bytes] = []
    arrived: list[bytes] = []
    tap = kernel.plug("/pod", "eth0", MAC, 1450, sent.append)
    tap.listener = arrived.append
    tap.transmit(b"early")
    raise_errors(await kernel.apply("/pod", [SetLink(link="eth0", up=True)]))
    tap.transmit(b"out")
    tap.receive(b"in")
    assert (sent, arrived, tap.dropped) == ([b"out"], [b"in"], 1)
    kernel.unplug(tap)
    kernel.unplug(tap)
    with pytest.raises(KernelError):
        kernel.link("/pod", "eth0")


async def test_veth_carries_frames_between_namespaces():
    kernel = MemoryKernel()
    kernel.create_namespace("/pod")
    raise_errors(await kernel.apply("", [CreateVeth("pod1", "eth0", "/pod"), SetLink(link="pod1", up=True)]))
    arrived: list[bytes] = []
    host, pod = kernel.link("", "pod1"), kernel.link("/pod", "eth0")
    host.listener = arrived.append
    pod.transmit(b"early")
    raise_errors(await kernel.apply("/pod", [SetLink(link="eth0", up=True)]))
    pod.transmit(b"frame")
    assert (arrived, pod.dropped) == ([b"frame"], 1)


async def test_a_new_namespace_at_an_old_path_is_another():
    kernel = MemoryKernel()
    old = kernel.create_namespace("/pod")
    kernel.destroy_namespace("/pod")
    assert kernel.create_namespace("/pod") != old
    with pytest.raises(NamespaceGone):
        await kernel.apply(old, [])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2)), max_size=20))
async def test_routes_are_a_map_by_prefix_and_metric(steps):
    kernel = MemoryKernel()
    raise_errors(await kernel.apply("", [CreateVeth("a", "b"), SetLink(link="a", up=True)]))
    model = set()
    for adding, net, metric in steps:
        route = Route(ip_network(f"10.{net}.0.0/16"), "a", metric=metric)
        (error,) = await kernel.apply("", [Add(route) if adding else Delete(route)])
        # A delete without a metric means any, so it is only compared when one is given.
        if adding:
            assert (error is None) == (route not in model)
            model.add(route)
        elif metric:
            assert (error is None) == (route in model)
            model.discard(route)
        else:
            model = set(await kernel.routes("")) if error is None else model
        assert set(await kernel.routes("")) == model
