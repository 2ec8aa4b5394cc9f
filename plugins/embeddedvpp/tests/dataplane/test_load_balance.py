# SPDX-License-Identifier: Apache-2.0
"""Flows keep their path, and paths get their share of the flows. (What VPP chooses is compared with packets.)"""

import struct

from hypothesis import given
from hypothesis import strategies as st

from embeddedvpp.dataplane.load_balance import TOLERANCE, Choice, flow_hash, shares

ADDRESSES = st.binary(min_size=4, max_size=4)


def header(  # noqa: PLR0917
    source, destination, protocol, ports, ttl=64, ident=0, payload=b""
):
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 24, ident, 0, ttl, protocol, 0)
        + source
        + destination
        + ports
        + payload
    )


class _End:
    """Stands for an action."""


def test_the_hash_is_vpps():
    # As ``show trace`` of VPP has it.
    assert flow_hash(header(bytes((10, 0, 1, 2)), bytes((21, 0, 0, 1)), 6, bytes((1, 21, 1, 80)))) == 0xE04431B1


@given(ADDRESSES, ADDRESSES, st.integers(0, 255), ADDRESSES, st.integers(0, 255), st.integers(0, 65535), st.binary())
def test_a_flow_keeps_its_path_whatever_else_its_packets_have(  # noqa: PLR0917
    source, destination, protocol, ports, ttl, ident, payload
):
    inner = Choice(tuple(_End() for _ in range(4)))
    choice = Choice((_End(), inner, Choice((inner,)), Choice(inner.buckets, fresh=True)))
    one = choice.choose(header(source, destination, protocol, ports))
    assert choice.choose(bytearray(header(source, destination, protocol, ports, ttl, ident, payload))) is one
    if protocol not in (6, 17):
        assert choice.choose(header(source, destination, protocol, bytes(4))) is one


@given(st.lists(st.integers(0, 255), min_size=1, max_size=70))
def test_buckets_are_a_power_of_two_within_a_tenth_of_the_weights(weights):
    given = [weight or 1 for weight in weights]
    found = shares(weights)
    number = sum(count for _, count in found)
    assert number & (number - 1) == 0
    assert number >= len(weights)
    if number < 8192:
        assert sorted(place for place, _ in found) == list(range(len(weights)))
        exact = {place: given[place] * number / sum(given) for place in range(len(weights))}
        # What is left after rounding goes to one path, on top of the tenth.
        assert sum(abs(exact[place] - count) for place, count in found) <= 2 * TOLERANCE * number + 1


def test_flows_spread_by_weight():
    ends = [_End(), _End()]
    choice = Choice(tuple(ends[place] for place, count in shares([1, 3]) for _ in range(count)))
    chosen = [
        choice.choose(header(b"\x0a\0\0\1", b"\x0a\0\0\2", 17, struct.pack("!HH", port, 53))) for port in range(4000)
    ]
    assert 850 < chosen.count(ends[0]) < 1150


def test_two_choices_in_a_row_do_not_depend_on_each_other():
    ends = [_End() for _ in range(4)]
    choice = Choice((Choice(tuple(ends[:2])), Choice(tuple(ends[2:]))))
    chosen = [
        choice.choose(header(b"\x0a\0\0\1", b"\x0a\0\0\2", 17, struct.pack("!HH", port, 53))) for port in range(4000)
    ]
    assert all(850 < chosen.count(end) < 1150 for end in ends)
