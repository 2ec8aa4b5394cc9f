# SPDX-License-Identifier: Apache-2.0
"""Hands out the addresses of one subnet, round-robin, in memory.

Round-robin is deliberate: an address that is used again at once meets policies and connections of its last
owner. Storing is the caller's: `entries()` and `last` go into the ledger, `restore()` takes them back. Used
addresses are sorted runs, so finding the next free one is a binary search, also in a full or an IPv6 subnet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AllocationError(Exception):
    """The request cannot be served; the text says which address and why."""


class PoolExhaustedError(AllocationError):
    """No address is free."""


class AddressInUseError(AllocationError):
    """The address belongs to another owner, or the owner has another address."""


class AddressNotAllocatableError(AllocationError):
    """The address is outside the subnet, or reserved."""


class _Runs:
    """A set of numbers as sorted, disjoint, non-adjacent runs [start, end)."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, number: int) -> None:
        """Add a number that is not in the set."""
        index = bisect_right(self._starts, number)
        joins_left = index > 0 and self._ends[index - 1] == number
        joins_right = index < len(self._starts) and self._starts[index] == number + 1
        if joins_left and joins_right:
            self._ends[index - 1] = self._ends[index]
            del self._starts[index], self._ends[index]
        elif joins_left:
            self._ends[index - 1] = number + 1
        elif joins_right:
            self._starts[index] = number
        else:
            self._starts.insert(index, number)
            self._ends.insert(index, number + 1)

    def remove(self, number: int) -> None:
        """Remove a number that is in the set."""
        index = bisect_right(self._starts, number) - 1
        start, end = self._starts[index], self._ends[index]
        parts = [(first, last) for first, last in ((start, number), (number + 1, end)) if first < last]
        self._starts[index : index + 1] = [first for first, _ in parts]
        self._ends[index : index + 1] = [last for _, last in parts]

    def next_free(self, number: int) -> int:
        """The smallest number from `number` on that is not in the set."""
        index = bisect_right(self._starts, number) - 1
        return max(number, self._ends[index]) if index >= 0 else number


class Allocator:
    """Addresses of `subnet` by owner. Reserved: network, gateway (first), NAT loopback, last address."""

    def __init__(self, subnet: Network) -> None:
        if subnet.num_addresses < 8:
            raise ValueError(f"{subnet} is too small for pods: at least 8 addresses are needed")
        self.subnet = subnet
        self._base = int(subnet.network_address)
        self._size = subnet.num_addresses
        self._reserved = {0, 1, self._size - 2, self._size - 1}
        self._clear()

    def _clear(self) -> None:
        self._owner_by_number: dict[int, str] = {}
        self._number_by_owner: dict[str, int] = {}
        self._last = 1
        self._used = _Runs()
        for number in sorted(self._reserved):
            self._used.add(number)

    @property
    def last(self) -> Address:
        """Where the round has come to; the gateway before the first allocation."""
        return self.subnet[self._last]

    @property
    def capacity(self) -> int:
        return self._size - len(self._reserved)

    @property
    def free(self) -> int:
        return self.capacity - len(self._number_by_owner)

    def entries(self) -> dict[str, Address]:
        """Addresses by owner, ready to be stored."""
        return {owner: self.subnet[number] for owner, number in self._number_by_owner.items()}

    def address_of(self, owner: str) -> Address | None:
        number = self._number_by_owner.get(owner)
        return None if number is None else self.subnet[number]

    def owner_of(self, address: Address | str) -> str | None:
        address = ip_address(address)
        return self._owner_by_number.get(int(address) - self._base) if address in self.subnet else None

    def allocate(self, owner: str) -> Address:
        """The owner's address; a new one is the next free one after `last`."""
        number = self._number_by_owner.get(owner)
        if number is not None:
            return self.subnet[number]
        if not self.free:
            raise PoolExhaustedError(
                f"no free address in {self.subnet} for {owner}: all {self.capacity} are in use "
                f"({len(self._reserved)} more are reserved)"
            )
        number = self._used.next_free(self._last + 1)
        if number >= self._size:
            number = self._used.next_free(0)
        self._assign(number, owner)
        self._last = number
        return self.subnet[number]

    def allocate_specific(self, address: Address | str, owner: str) -> Address:
        """Exactly this address. The round goes on from where it was."""
        number = self._number(address, owner)
        holder = self._owner_by_number.get(number)
        if holder == owner:
            return self.subnet[number]
        if holder is not None:
            raise AddressInUseError(f"{address} for {owner}: in use by {holder}")
        current = self.address_of(owner)
        if current is not None:
            raise AddressInUseError(f"{address} for {owner}: it already has {current}; release that first")
        self._assign(number, owner)
        return self.subnet[number]

    def release(self, owner: str) -> Address | None:
        """Free the owner's address; None if it has none."""
        number = self._number_by_owner.pop(owner, None)
        if number is None:
            return None
        del self._owner_by_number[number]
        self._used.remove(number)
        return self.subnet[number]

    def restore(self, entries: Mapping[str, Address | str], last: Address | str | None = None) -> None:
        """Replace everything by what was stored; on an error, which names all problems, nothing changes."""
        fresh = Allocator(self.subnet)
        problems = list(fresh._load(entries.items()))
        try:
            fresh._last = 1 if last is None else self._offset(last, "the last allocation")
        except AllocationError as error:
            problems.append(str(error))
        if problems:
            raise AllocationError("; ".join(problems))
        self.__dict__.update(fresh.__dict__)

    def _load(self, entries: Iterable[tuple[str, Address | str]]) -> Iterable[str]:
        for owner, address in entries:
            try:
                self.allocate_specific(address, owner)
            except AllocationError as error:
                yield str(error)

    def _assign(self, number: int, owner: str) -> None:
        self._used.add(number)
        self._owner_by_number[number] = owner
        self._number_by_owner[owner] = number

    def _offset(self, address: Address | str, owner: str) -> int:
        try:
            parsed = ip_address(address)
        except ValueError:
            raise AddressNotAllocatableError(f"{address!r} for {owner}: is no IP address") from None
        if parsed not in self.subnet:
            raise AddressNotAllocatableError(f"{parsed} for {owner}: outside this node's subnet {self.subnet}")
        return int(parsed) - self._base

    def _number(self, address: Address | str, owner: str) -> int:
        number = self._offset(address, owner)
        if number in self._reserved:
            use = {0: "network address", 1: "gateway", self._size - 2: "NAT loopback"}.get(number, "last address")
            raise AddressNotAllocatableError(f"{address} for {owner}: reserved in {self.subnet} ({use})")
        return number
