# SPDX-License-Identifier: Apache-2.0
"""The allocator against a brute-force model, and the cases that the original got wrong."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contivpp_ipam.allocator import (
    AddressInUseError,
    AddressNotAllocatableError,
    AllocationError,
    Allocator,
    PoolExhaustedError,
)

SMALL = ipaddress.ip_network("10.1.1.0/28")
OWNERS = st.sampled_from([f"ns/pod{number}" for number in range(14)])


class AllocatorMachine(RuleBasedStateMachine):
    """The model searches address by address."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(SMALL)
        self.model: dict[str, int] = {}
        self.last = 1

    @rule(owner=OWNERS)
    def allocate(self, owner: str) -> None:
        expected = self.model.get(owner)
        if expected is None:
            order = [*range(self.last + 1, 16), *range(self.last + 1)]
            taken = {0, 1, 14, 15, *self.model.values()}
            expected = next((number for number in order if number not in taken), None)
            if expected is None:
                with pytest.raises(PoolExhaustedError):
                    self.allocator.allocate(owner)
                return
            self.model[owner] = self.last = expected
        assert self.allocator.allocate(owner) == SMALL[expected]

    @rule(owner=OWNERS, number=st.integers(0, 15))
    def allocate_specific(self, owner: str, number: int) -> None:
        others = {taken for name, taken in self.model.items() if name != owner}
        if number in {0, 1, 14, 15, *others} or self.model.get(owner, number) != number:
            with pytest.raises(AllocationError):
                self.allocator.allocate_specific(SMALL[number], owner)
        else:
            assert self.allocator.allocate_specific(str(SMALL[number]), owner) == SMALL[number]
            self.model[owner] = number

    @rule(owner=OWNERS)
    def release(self, owner: str) -> None:
        number = self.model.pop(owner, None)
        assert self.allocator.release(owner) == (None if number is None else SMALL[number])

    @rule()
    def restart(self) -> None:
        stored, last = self.allocator.entries(), self.allocator.last
        self.allocator = Allocator(SMALL)
        self.allocator.restore(stored, last)

    @invariant()
    def same_as_model(self) -> None:
        assert self.allocator.entries() == {owner: SMALL[number] for owner, number in self.model.items()}
        assert self.allocator.last == SMALL[self.last]
        assert self.allocator.free == 12 - len(self.model)


TestAllocator = AllocatorMachine.TestCase


def test_a_24_has_252_pods_and_then_says_so() -> None:
    allocator = Allocator(ipaddress.ip_network("10.1.1.0/24"))
    addresses = [str(allocator.allocate(f"ns/{number}")) for number in range(252)]
    assert (addresses[0], addresses[-1]) == ("10.1.1.2", "10.1.1.253")
    with pytest.raises(PoolExhaustedError, match=r"all 252 are in use \(4 more"):
        allocator.allocate("ns/more")
    allocator.release("ns/7")
    assert str(allocator.allocate("ns/more")) == addresses[7]


def test_a_wide_ipv6_subnet() -> None:
    allocator = Allocator(ipaddress.ip_network("2001:0:0:1::/64"))
    assert str(allocator.allocate("a")) == "2001:0:0:1::2"
    allocator.restore({}, "2001::1:ffff:ffff:ffff:fffd")
    assert str(allocator.allocate("b")) == "2001:0:0:1::2"


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        pytest.param("10.2.0.5", AddressNotAllocatableError, "outside", id="outside"),
        pytest.param("2001::1", AddressNotAllocatableError, "outside", id="other family"),
        pytest.param("10.1.1.1", AddressNotAllocatableError, "gateway", id="gateway"),
        pytest.param("10.1.1.14", AddressNotAllocatableError, "NAT loopback", id="loopback"),
        pytest.param("nonsense", AddressNotAllocatableError, "no IP address", id="nonsense"),
        pytest.param("10.1.1.5", AddressInUseError, "in use by ns/a", id="in use"),
    ],
)
def test_a_refused_address_says_why(address: str, error: type[Exception], text: str) -> None:
    allocator = Allocator(SMALL)
    allocator.allocate_specific("10.1.1.5", "ns/a")
    with pytest.raises(error, match=text):
        allocator.allocate_specific(address, "ns/b")


def test_a_failed_restore_names_all_problems_and_changes_nothing() -> None:
    allocator = Allocator(SMALL)
    allocator.allocate("kept")
    with pytest.raises(AllocationError, match=r"10\.2\.0\.1.*in use by a"):
        allocator.restore({"a": "10.1.1.3", "x": "10.2.0.1", "b": "10.1.1.3"})
    assert allocator.entries() == {"kept": SMALL[2]}
