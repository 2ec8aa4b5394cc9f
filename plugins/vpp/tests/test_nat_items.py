# SPDX-License-Identifier: Apache-2.0
"""Items of NAT44 and the pure parts of their descriptors: what is refused, and in which order backends change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contivpp_core.items import Outcome
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.descriptors.nat44_changes import Change, changes, in_any_order
from contivpp_vpp.errors import MissingMessages, VppError
from contivpp_vpp.items import Nat44, Nat44Address, Nat44Interface, Nat44Mapping, NatBackend
from contivpp_vpp.nat_items import MOST_BACKENDS, parts_of_tag

DESCRIPTORS = {each.kind: each for each in all_descriptors(VppAccess())}
ONE = NatBackend(address="10.1.1.2", port=8080)
TWO = NatBackend(address="10.1.1.3", port=8080, vrf=1)
MAPPING = Nat44Mapping(protocol="tcp", address="10.96.0.1", port=80, backends=(TWO, ONE), label="ns/web:http")


def numbered(count: int, probability: int = 1) -> tuple[NatBackend, ...]:
    addresses = (f"10.2.{number >> 8}.{number & 255}" for number in range(count))
    return tuple(NatBackend(address=address, port=80, probability=probability) for address in addresses)


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (Nat44(), "vpp/nat44/on"),
        (Nat44Interface(interface="pod"), "vpp/nat44-interface/pod"),
        (Nat44Address(address="10.0.0.1"), "vpp/nat44-address/pool/10.0.0.1"),
        (Nat44Address(address="10.0.0.1", twice_nat=True), "vpp/nat44-address/twice-nat/10.0.0.1"),
        (MAPPING, "vpp/nat44-mapping/tcp/10.96.0.1/80"),
    ],
)
def test_keys(item: Any, key: str) -> None:
    assert item.key == key
    assert DESCRIPTORS[item.kind].item is type(item)


def test_the_order_of_backends_means_nothing() -> None:
    assert replace(MAPPING, backends=(ONE, TWO)) == MAPPING
    assert hash(replace(MAPPING, backends=(ONE, TWO))) == hash(MAPPING)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backends": ()}, "0 backends"),
        ({"backends": numbered(MOST_BACKENDS + 1)}, "255 backends"),
        ({"backends": numbered(2, probability=128)}, "probabilities is 256"),
        ({"backends": numbered(3, probability=100)}, "probabilities is 300"),
        ({"backends": (ONE, replace(ONE, probability=1))}, "named twice"),
        ({"twice_nat": True, "self_twice_nat": True}, "exclude each other"),
        ({"protocol": "sctp"}, "neither tcp nor udp"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"address": "2001:db8::1"}, "no IPv4 address"),
        ({"address": "10.96.0.01"}, "no IPv4 address"),
        ({"address": "0.0.0.0"}, "not the address of a machine"),
        ({"address": "224.0.0.1"}, "not the address of a machine"),
        ({"affinity_seconds": -1}, "affinity"),
        ({"affinity_seconds": 86401}, "affinity"),
        ({"label": "x" * 53}, "too long"),
        ({"label": "x" * 46, "affinity_seconds": 10800}, "too long"),
        ({"label": "@1/x"}, "begins with @"),
        ({"label": "a\0b"}, "NUL"),
    ],
)
def test_a_mapping_that_vpp_would_not_stand_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(MAPPING, **change)


@pytest.mark.parametrize(
    "change",
    [{"address": "0.0.0.0"}, {"port": 0}, {"port": 65536}, {"probability": 0}, {"probability": 256}, {"vrf": -1}],
)
def test_a_backend_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="backend"):
        replace(MAPPING, backends=(TWO, replace(ONE, **change)))


@pytest.mark.parametrize("field", ["sessions", "udp_seconds", "tcp_established_seconds", "icmp_seconds"])
def test_nothing_of_nat44_is_zero(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Nat44(**{field: 0})


@given(
    affinity=st.integers(0, 86400),
    label=st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=45).filter(lambda x: x[:1] != "@"),
)
def test_affinity_and_label_are_in_the_tag(affinity: int, label: str) -> None:
    item = replace(MAPPING, affinity_seconds=affinity, label=label)
    assert len(item.tag.encode()) <= 63
    assert parts_of_tag(item.tag) == (affinity, label)


# --- the order of changes

BACKENDS = st.lists(
    st.builds(
        NatBackend,
        address=st.sampled_from(["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.1.4", "10.1.1.5"]),
        port=st.sampled_from([80, 81]),
        probability=st.sampled_from([1, 15, 63, 85, 127, 128, 254, 255]),
    ),
    min_size=1,
    unique_by=lambda backend: backend.endpoint,
).filter(lambda found: sum(each.probability for each in found) <= 255)


def walk(old: list[NatBackend], steps: list[Change]) -> tuple[set[NatBackend], list[int]]:
    """What is there after the steps, and all sums on the way."""
    there, sums = set(old), []
    for step in steps:
        if step.is_add:
            assert step.backend.endpoint not in {each.endpoint for each in there}
            there.add(step.backend)
        else:
            there.remove(step.backend)
        sums.append(sum(each.probability for each in there))
    return there, sums


@given(old=BACKENDS, new=BACKENDS)
def test_no_sum_on_the_way_is_one_that_kills_vpp(old: list[NatBackend], new: list[NatBackend]) -> None:
    steps = changes(old, new)
    if steps is None:
        assert not set(old) & set(new)  # with one that stays, all others can go first
        return
    there, sums = walk(old, steps)
    assert there == set(new)
    assert all(1 <= total <= 255 for total in sums)
    assert len(steps) == len(set(old) ^ set(new))


def test_what_is_new_comes_first() -> None:
    assert changes([ONE], [TWO]) == [Change(True, TWO), Change(False, ONE)]
    assert in_any_order([ONE], changes([ONE], [TWO]) or [])


def test_full_mappings_are_changed_by_way_of_smaller_ones() -> None:
    old, new = numbered(4, 63)[:2], numbered(4, 63)[2:]
    assert [step.is_add for step in changes(old, new) or []] == [True, True, False, False]
    old, new = numbered(4, 127)[:2], numbered(4, 127)[2:]
    steps = changes(old, new)
    assert steps is not None
    assert [step.is_add for step in steps] == [False, True, False, True]
    assert not in_any_order(old, steps)


def test_where_no_order_is_safe_there_is_none() -> None:
    assert changes(numbered(1, 255), [replace(ONE, probability=255)]) is None
    assert changes([ONE], [replace(ONE, probability=7)]) is None


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"backends": (ONE,)}, False),
        ({"backends": (TWO,)}, False),
        ({"backends": numbered(3)}, False),
        ({"backends": (ONE, TWO, *numbered(3))}, False),
        ({"backends": (replace(ONE, probability=1), TWO)}, False),
        ({"backends": (replace(ONE, probability=1), replace(TWO, probability=2))}, False),
        ({"label": "other"}, True),
        ({"twice_nat": True}, True),
        ({"self_twice_nat": True}, True),
        ({"affinity_seconds": 5}, True),
    ],
)
def test_only_what_cannot_change_in_place_is_made_again(change: dict[str, Any], again: bool) -> None:
    assert DESCRIPTORS[MAPPING.kind].recreates(MAPPING, replace(MAPPING, **change)) is again


def test_with_affinity_a_backend_that_goes_takes_the_mapping_along() -> None:
    sticky = replace(MAPPING, affinity_seconds=5)
    descriptor = DESCRIPTORS[MAPPING.kind]
    assert not descriptor.recreates(sticky, replace(sticky, backends=(ONE, TWO, *numbered(1))))
    assert descriptor.recreates(sticky, replace(sticky, backends=(ONE,)))
    assert descriptor.recreates(sticky, replace(sticky, backends=(replace(ONE, probability=7), TWO)))


def test_what_errors_mean() -> None:
    descriptor = DESCRIPTORS[MAPPING.kind]
    assert descriptor.classify(VppError(-126, "nat44_add_del_lb_static_mapping")) is Outcome.RETRY
    assert descriptor.classify(MissingMessages("24.10", ["nat44_ed_plugin_enable_disable"])) is Outcome.CHANGE


def test_what_a_mapping_stands_on() -> None:
    needs = [str(each) for each in DESCRIPTORS[MAPPING.kind].dependencies(MAPPING)]
    assert needs == ["vpp/nat44/on", "vpp/vrf/1"]
