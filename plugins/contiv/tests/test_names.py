# SPDX-License-Identifier: Apache-2.0
"""Names and MACs are valid wherever they go, and differ where attachments differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contivpp_contiv import names

container_ids = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,63}", fullmatch=True)
interfaces = st.from_regex(r"[a-z0-9.]{1,15}", fullmatch=True)


@given(container_ids, interfaces)
def test_names_fit(container_id: str, interface: str) -> None:
    assert len(names.vpp_interface(container_id, interface).encode()) <= 52
    assert len(names.host_link(container_id, interface)) <= 15


@given(container_ids, interfaces)
def test_macs_are_local_unicast_and_complementary(container_id: str, interface: str) -> None:
    pod, vpp = names.pod_mac(container_id, interface), names.vpp_mac(container_id, interface)
    first = int(pod[:2], 16)
    assert first & 0b10
    assert not first & 0b01
    assert pod.startswith("02:fe:")
    assert int(pod[6:].replace(":", ""), 16) ^ int(vpp[6:].replace(":", ""), 16) == 0xFFFFFFFF


@given(st.tuples(container_ids, interfaces), st.tuples(container_ids, interfaces))
def test_attachments_do_not_share_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    if one != other:
        assert names.vpp_interface(*one) != names.vpp_interface(*other)
        assert names.host_link(*one) != names.host_link(*other)


def test_the_hash_is_fnv_1a_of_id_slash_interface_lowest_byte_first() -> None:
    # FNV-1a of "a/eth0" computed by hand with the constants of RFC 9923.
    value = 0x811C9DC5
    for byte in b"a/eth0":
        value = (value ^ byte) * 0x01000193 % 2**32
    expected = ":".join(f"{byte:02x}" for byte in (2, 0xFE, *value.to_bytes(4, "little")))
    assert names.pod_mac("a", "eth0") == expected
