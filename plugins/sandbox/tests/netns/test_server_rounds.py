# SPDX-License-Identifier: Apache-2.0
"""Real servers and agents die, stand still or are cut off while objects come and go, in random rounds; etcd is wiped.

CONTIVPP_SERVER_ROUNDS says how many rounds (20), CONTIVPP_SEED with which seed they begin; both are printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from contivpp_sandbox.servers.layout import Datastore
from tests.servers.apiserver import NEEDS_APISERVER, await_build

from .sandboxes import sandboxes
from .server_rounds import NODES, ROUNDS, world

pytestmark = [pytest.mark.netns, NEEDS_APISERVER]

SEED = int(os.environ.get("CONTIVPP_SEED") or random.randrange(10**6))
CI_SECONDS = 150.0  # each of both, unless more rounds are asked for
CLUSTER_ROUNDS = 25  # so many with one cluster


@pytest.fixture(autouse=True)
def able() -> None:
    """Skip where namespaces cannot be made, or there is no kube-apiserver."""
    await_build()
    sandboxes("root" if os.geteuid() == 0 else "user").clear()


@pytest.mark.parametrize("datastore", ["etcd", "kubernetes"])
async def test_all_agents_end_with_the_api_servers_state(datastore: Datastore) -> None:
    begin, done = time.monotonic(), 0
    wanted = max(ROUNDS // 2, 1)
    while done < wanted:
        seed = SEED + done
        async with world(datastore, seed) as (made, pinger):
            for number in range(done, min(done + CLUSTER_ROUNDS, wanted)):
                pinger.now = f"round {number} of seed {seed}"
                events = await made.round()
                await made.finish()
                done += 1
                took = time.monotonic() - begin
                print(f"{datastore}, seed {seed}, round {number}, {took:.0f} s: {', '.join(events)}", flush=True)
                if ROUNDS <= 20 and time.monotonic() > begin + CI_SECONDS:
                    print(f"time is up after {done} of {wanted} rounds")
                    return


async def test_etcd_is_wiped_while_everything_runs() -> None:
    async with world("etcd", SEED) as (made, pinger):
        for number in range(2):
            pinger.now = f"wipe {number}"
            await made.store.restart("etcd", kill=True, wipe=True)
            await made.finish()
            assert await made.round()
            await made.finish()


async def test_etcd_is_wiped_while_all_agents_are_down() -> None:
    async with world("etcd", SEED) as (made, pinger):
        for number, reflector_too in enumerate((False, True)):
            pinger.now = f"wipe {number}"
            for name in NODES:
                await made.cluster.nodes[name].stop("agent", kill=True)
            if reflector_too:
                await made.servers.stop("ksr1", "ksr2", kill=True)
            await made.store.restart("etcd", kill=True, wipe=True)
            await asyncio.sleep(1)
            for name in reversed(NODES):
                await made.cluster.nodes[name].launch_agent()
            await made.servers.run("ksr1", "ksr2")
            await made.finish()
