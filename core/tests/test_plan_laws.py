# SPDX-License-Identifier: Apache-2.0
"""Laws of plans: nothing is touched; the changes applied are what rendering from scratch wants, and what happens.

What happens is free where a link requires what goes away with something else: it is then taken down before, or not at
all, by the order in which keys come. So no link here requires anything of others.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.clock import run_simulated
from contivpp_core.items import Item
from contivpp_core.kubernetes import POD, Pod, decode
from contivpp_core.plan import Plan
from contivpp_core.state import Put, Ready
from contivpp_core.testing.dataplane import FakeLink
from contivpp_core.testing.laws import rendered

from .plans import Ports, Rig, Routes, Settings, manifest, remade

pods = st.builds(
    lambda addresses, routes, model, vrf, over: (sorted(addresses), {
        "routes": "".join(sorted(routes)),
        **({"model": model} if model else {}),
        **({"vrf": vrf} if vrf else {}),
        **({"over": over} if over else {}),
    }),
    st.sets(st.sampled_from("12")),
    st.sets(st.sampled_from("123"), max_size=2),
    st.sampled_from(("", "", "b")),
    st.sampled_from(("", "", "2")),
    st.sampled_from(("", "", "p", "nobody")),
)  # fmt: skip
clusters = st.dictionaries(st.sampled_from("pqr"), pods, max_size=3).map(
    lambda some: [manifest(name, addresses=addresses, **labels) for name, (addresses, labels) in some.items()]
)
configurations = st.fixed_dictionaries(
    {
        "model": st.sampled_from("ab"),
        "vrf": st.sampled_from((1, 2)),
        "rules": st.sampled_from((None, 10, 11, 20)),
        "sticky": st.booleans(),
    }
)


def plain(item: Item) -> Item:
    """An item as the fake dataplane shows it."""
    return FakeLink(port=item.port) if isinstance(item, FakeLink) else item


def applied(plan: Plan, before: dict[str, Item]) -> dict[str, Item]:
    """The changes of a plan, applied to what is there."""
    after = dict(before)
    for change in plan.changes:
        if change.action == "delete":
            del after[change.key]
        else:
            assert (change.key in before) == (change.action != "create")
            assert change.new is not None
            after[change.key] = plain(change.new)
    return after


def from_scratch(cluster: list[dict[str, Any]], given_settings: dict[str, Any]) -> dict[str, Item]:
    """What is wanted, rendered from scratch."""
    section = Settings(**given_settings)
    records = [decode(Pod, each) for each in cluster]
    writes = [*(Put(POD.name, pod) for pod in records), *remade(records, section), Ready(POD.name)]
    owners, _ = rendered([POD], lambda: [Ports(section), Routes(section)], [writes])
    return {key: plain(some[min(some)]) for key, some in owners.items()}


async def planned(rig: Rig, cluster: Any, given_settings: Any, **request: Any) -> tuple[Plan, dict[str, Item]]:
    """Plan; check that nothing is touched, and that the changes are what rendering from scratch wants."""
    before, there = rig.everything(), rig.world.dump()
    plan = await rig.plan(*cluster, replace=True, **request)
    assert rig.everything() == before
    after, blocked = applied(plan, there), {each.key for each in plan.blocked}
    wanted = from_scratch(cluster, given_settings)
    keys = (after.keys() | wanted.keys()) - blocked
    assert {key for key in keys if after.get(key) != wanted.get(key)} == set()
    return plan, after


async def happened(rig: Rig, plan: Plan, after: dict[str, Item]) -> None:
    """Check that what happened is what was planned, and that nothing more is left to do."""
    assert rig.world.dump() == after
    assert {(verb, key) for verb, key in rig.world.calls if verb != "dump"} == set(plan.steps)
    blocked = {each.key for each in plan.blocked}
    assert {item.key for item in rig.agent.scheduler.items() if item.state != "applied"} == blocked
    again = await rig.plan()
    assert (again.changes, {each.key for each in again.blocked}) == ((), blocked)


@settings(max_examples=60, deadline=None)
@given(clusters, configurations, clusters.filter(len))
def test_a_plan_for_other_objects_is_what_happens_when_they_come(old: Any, section: Any, new: Any) -> None:
    async def scenario() -> None:
        rig = Rig(**section)
        await rig.start(*old)
        plan, after = await planned(rig, new, section)
        rig.world.calls.clear()
        await rig.replace(*new)
        await happened(rig, plan, after)
        await rig.agent.stop()

    run_simulated(scenario())


@settings(max_examples=60, deadline=None)
@given(clusters, configurations, clusters.filter(len), configurations)
def test_a_plan_for_another_configuration_is_what_a_restart_does(old: Any, was: Any, new: Any, will: Any) -> None:
    async def scenario() -> None:
        rig = Rig(**was)
        await rig.start(*old)
        plan, after = await planned(rig, new, will, live=True, settings=will)
        await rig.agent.stop()
        rig.world.calls.clear()
        restarted = Rig(rig.world, **will)
        await restarted.start(*new)
        await happened(restarted, plan, after)
        await restarted.agent.stop()

    run_simulated(scenario())
