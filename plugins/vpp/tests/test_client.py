# SPDX-License-Identifier: Apache-2.0
"""Reconnecting, under a simulated clock."""

import asyncio
import random

import pytest

from contivpp_vpp import messages
from contivpp_vpp.client import Backoff, Connected, VppClient
from contivpp_vpp.errors import MissingMessages, NotConnected
from contivpp_vpp.incarnation import Incarnation, StartSource, from_uptime
from contivpp_vpp.scripted import ScriptedVpp
from contivpp_vpp.transports import ProtocolFactory


class Place:
    """Where a VPP is, or none."""

    def __init__(self, vpp: ScriptedVpp | None) -> None:
        self.vpp = vpp
        self.attempts: list[float] = []

    async def connect(self, factory: ProtocolFactory) -> asyncio.Transport:
        self.attempts.append(asyncio.get_running_loop().time())
        if self.vpp is None:
            raise FileNotFoundError("no such socket")
        return await self.vpp.connect(factory)


class History:
    """What a listener was told."""

    def __init__(self, client: VppClient) -> None:
        self.told: list[object] = []
        client.listen(connected=self._connected, lost=self.told.append)

    def _connected(self, news: Connected) -> None:
        self.told.append("new VPP" if news.restarted else "VPP")


def test_a_broken_socket_is_told_from_a_restarted_vpp(simulated):
    async def scenario():
        vpp = ScriptedVpp(pid=1, uptime=500)
        place = Place(vpp)
        async with VppClient(place.connect) as client:
            history = History(client)
            await client.wait_connected()
            vpp.sessions[-1].transport.close()
            await asyncio.sleep(1)
            await client.wait_connected()
            place.vpp = ScriptedVpp(pid=1, uptime=0.5)
            vpp.sessions[-1].transport.close()
            await asyncio.sleep(1)
            await client.wait_connected()
        assert [t for t in history.told if isinstance(t, str)] == ["VPP", "VPP", "new VPP"]

    simulated(scenario())


def test_a_vpp_that_hangs_is_told(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        vpp.on(messages.ShowVersion, lambda _: None)
        async with VppClient(vpp.connect) as client:
            history = History(client)
            await asyncio.sleep(16)
            assert [str(each) for each in history.told] == ["VPP did not shake hands in 15 s"]

    simulated(scenario())


def test_attempts_back_off_with_jitter_and_start_anew(simulated):
    async def scenario():
        place = Place(None)
        backoff = Backoff(first=0.05, most=2.0)
        async with VppClient(place.connect, backoff=backoff, randomness=random.Random(1)) as client:
            await asyncio.sleep(20)
            with pytest.raises(NotConnected, match="no such socket"):
                _ = client.connection
            gaps = [b - a for a, b in zip(place.attempts, place.attempts[1:], strict=False)]
            assert 0.025 <= gaps[0] <= 0.05
            assert all(1.0 <= gap <= 2.0 for gap in gaps[6:])
            assert len(set(gaps[6:])) > 1
            place.vpp = ScriptedVpp()
            await client.wait_connected()
            await asyncio.sleep(10)
            place.attempts.clear()
            lost = asyncio.get_running_loop().time()
            place.vpp.sessions[-1].transport.close()
            await asyncio.sleep(1)
            assert place.attempts[0] - lost <= 0.06

    simulated(scenario())


def test_subscriptions_outlive_connections(simulated):
    async def scenario():
        vpp = ScriptedVpp()
        seen: list[int] = []
        async with VppClient(vpp.connect) as client:
            leave = client.subscribe(messages.SwInterfaceEvent, lambda event: seen.append(event.sw_if_index))
            for index in range(3):
                await client.wait_connected()
                vpp.sessions[-1].send(messages.SwInterfaceEvent(sw_if_index=index))
                await asyncio.sleep(0.1)
                if index == 1:
                    leave()
                vpp.sessions[-1].transport.close()
                await asyncio.sleep(1)
        assert seen == [0, 1]

    simulated(scenario())


def test_a_vpp_without_required_messages_counts_as_absent(simulated):
    async def scenario():
        place = Place(ScriptedVpp(without=(messages.TapCreateV3,)))
        client = VppClient(place.connect)
        client.require(messages.TapCreateV3, messages.IpTableDump)
        history = History(client)
        async with client:
            await asyncio.sleep(1)
            assert place.vpp is not None
            assert not [m for m in place.vpp.received if isinstance(m, messages.IpTableDump)]
            assert isinstance(history.told[0], MissingMessages)
            with pytest.raises(NotConnected, match="lacks tap_create_v3"):
                _ = client.connection
            place.vpp = ScriptedVpp()
            await client.wait_connected()
        assert "VPP" in history.told

    simulated(scenario())


def test_incarnations():
    first = from_uptime("Time now 10.0, Mon", 100.0, 1)
    assert first == Incarnation(1, 90.0, StartSource.UPTIME)
    assert first.same(from_uptime("Time now .5", 90.7, 1))
    assert not first.same(from_uptime("Time now 1.0", 110.0, 1))
    assert not first.same(from_uptime("Time now 10.0", 100.0, 2))
    assert not first.same(Incarnation(1, 90.0, StartSource.PROCESS))
    assert from_uptime("", 100.0, 1).source is StartSource.UNKNOWN


def test_an_incarnation_is_known_again_days_later():
    day = 86400.0
    first = from_uptime("Time now 10.0, Mon", 100.0, 1)
    assert first.identity == "1@90.00"
    assert from_uptime(f"Time now {10 * day - 5}", 90 + 10 * day, 1).as_noted(first.identity, 90 + 10 * day)
    assert not from_uptime("Time now 5.0", 105.0, 1).as_noted(first.identity, 105.0)
    assert not from_uptime("Time now 10.0", 100.0, 2).as_noted(first.identity, 100.0)
    assert not first.as_noted("", 100.0)
    exact = Incarnation(1, 90.25, StartSource.PROCESS)
    assert exact.as_noted(exact.identity, 90 + day)
    assert not exact.as_noted("1@90.26", 90 + day)


def test_an_error_of_the_hand_shake_that_nobody_foresaw_does_not_end_the_attempts(simulated):
    async def scenario():
        place = Place(ScriptedVpp(pid=1, uptime=500))
        good = place.connect
        failures = [KeyError("a bug"), ValueError("nonsense")]

        async def connect(factory: ProtocolFactory) -> asyncio.Transport:
            if failures:
                raise failures.pop()
            return await good(factory)

        async with VppClient(connect) as client:
            history = History(client)
            async with asyncio.timeout(10):
                await client.wait_connected()
        assert [type(told) for told in history.told[:2]] == [ValueError, KeyError]

    simulated(scenario())
