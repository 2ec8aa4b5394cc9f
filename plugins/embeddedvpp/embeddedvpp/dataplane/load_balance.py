# SPDX-License-Identifier: Apache-2.0
"""Which of several ways a packet goes: VPP's flow hash, and how paths with weights share its buckets.

The number of buckets is a power of two. VPP takes the smallest number that is within a tenth of the weights. A path
may itself lead to several ways (a next hop that a route with several paths leads to): these are chosen by the same
hash without its last bit, so that the two choices do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .forwarding import Action

MOST_BUCKETS = 8192
TOLERANCE = 0.1
CACHE_LIMIT = 65536  # flows remembered
_WITH_PORTS = frozenset((6, 17))  # TCP and UDP
_hashes: dict[bytes, int] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Buckets of equal parts of the flows; ``fresh``: another table is asked, with the whole hash again."""

    buckets: tuple[Action | Choice, ...]
    fresh: bool = False

    def choose(self, data: bytes | bytearray) -> Action:
        """The action for the flow of a packet."""
        value: int | None = None
        found: Action | Choice = self
        while isinstance(found, Choice):
            if len(found.buckets) > 1:
                value = flow_hash(data) if value is None or found.fresh else value >> 1
                found = found.buckets[value & (len(found.buckets) - 1)]
            else:
                found = found.buckets[0]
        return found

    def actions(self) -> list[Action]:
        """All that may be chosen, in the order of the buckets."""
        result: list[Action] = []
        for bucket in self.buckets:
            result += bucket.actions() if isinstance(bucket, Choice) else [bucket]
        return result


def flow_hash(data: bytes | bytearray) -> int:
    """VPP's hash of source, destination, protocol and ports of an IPv4 packet.

    Like VPP it takes the four bytes after 20 bytes of header for the ports, also in a fragment.
    """
    protocol = data[9]
    key = bytes(data[12:24]) if protocol in _WITH_PORTS else bytes(data[12:20])
    key += bytes((protocol,))
    found = _hashes.get(key)
    if found is None:
        if len(_hashes) >= CACHE_LIMIT:
            _hashes.clear()
        source, destination, ports = (int.from_bytes(key[at:-1][:4], "little") for at in (0, 4, 8))
        found = _hashes[key] = mix(source, destination ^ protocol, ports)
    return found


def mix(a: int, b: int, c: int) -> int:
    """Jenkins's third hash of three words of 32 bits (``hash_v3_mix32`` and ``hash_v3_finalize32``)."""
    for turn in (4, 6, 8, 16, 19, 4):
        a = (a - c) & 0xFFFFFFFF ^ _rotate(c, turn)
        c = (c + b) & 0xFFFFFFFF
        a, b, c = b, c, a
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, turn)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return b


def _rotate(value: int, turn: int) -> int:
    return (value << turn | value >> (32 - turn)) & 0xFFFFFFFF


def shares(weights: Sequence[int]) -> list[tuple[int, int]]:
    """Paths (as places in ``weights``) with their numbers of buckets, in the order of the buckets.

    The sum is a power of two. Of more paths than there may be buckets the last ones get none.
    """
    if len(weights) == 1:
        return [(0, 1)]
    weights = [weight or 1 for weight in weights]
    order = sorted(range(len(weights)), key=lambda index: weights[index])
    if len(weights) == 2:
        if weights[0] == weights[1]:
            return [(0, 1), (1, 1)]
        order.reverse()
    total = sum(weights)
    number = min(1 << (len(weights) - 1).bit_length(), MOST_BUCKETS)
    while True:
        error, left, counts = 0.0, number, []
        for index in order:
            exact = weights[index] * number / total
            count = min(int(exact + 0.5), left)
            left -= count
            error += abs(exact - count)
            if not count:
                error = number
                break
            counts.append(count)
        if error <= TOLERANCE * number or number >= MOST_BUCKETS:
            counts = counts or [0]
            counts[0] += left
            return list(zip(order, counts, strict=False))
        number *= 2
