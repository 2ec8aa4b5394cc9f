# SPDX-License-Identifier: Apache-2.0
"""Interfaces, addresses, routes and neighbours without a packet."""

import pytest

from embeddedvpp.dataplane import (
    API,
    CLI,
    Dataplane,
    DataplaneError,
    InterfaceEvent,
    Path,
    PathType,
    Retval,
    add_memory_interface,
    format_ip4,
    ip4,
)


def prefixes(dataplane, table_id=0):
    return [f"{format_ip4(entry.address)}/{entry.length}" for entry in dataplane.fibs.get(table_id)]


def refused(retval, function, *arguments, **keywords):
    with pytest.raises(DataplaneError) as caught:
        function(*arguments, **keywords)
    assert caught.value.retval == retval


def up(dataplane, name="host-a", address="10.0.1.1", length=24):
    port = add_memory_interface(dataplane, name)
    index = port.interface.sw_if_index
    dataplane.add_address(index, ip4(address), length)
    dataplane.set_admin_state(index, up=True)
    return index


def test_an_index_freed_last_is_handed_out_first():
    dataplane = Dataplane()
    loopbacks = [dataplane.create_loopback() for _ in range(4)]
    assert [found.sw_if_index for found in loopbacks] == [1, 2, 3, 4]
    dataplane.delete_interface(1)
    dataplane.delete_interface(3)
    assert [dataplane.create_loopback().sw_if_index for _ in range(3)] == [3, 1, 5]


def test_loopback_names_and_macs_follow_the_instance():
    dataplane = Dataplane()
    assert dataplane.create_loopback(instance=7).name == "loop7"
    first = dataplane.create_loopback()
    assert (first.name, first.mac.hex()) == ("loop0", "dead00000000")
    refused(Retval.INVALID_REGISTRATION, dataplane.create_loopback, instance=7)
    refused(Retval.INVALID_SW_IF_INDEX, dataplane.delete_interface, 99)
    refused(Retval.INVALID_SW_IF_INDEX, dataplane.delete_interface, 0)


def test_a_new_table_has_only_its_drops():
    dataplane = Dataplane()
    dataplane.fibs.add(5, name="five")
    expected = ["0.0.0.0/0", "224.0.0.0/4", "240.0.0.0/4", "0.0.0.0/32", "255.255.255.255/32"]
    assert prefixes(dataplane, 5) == expected
    refused(Retval.NO_SUCH_FIB, dataplane.fibs.get, 6)


def test_address_routes_exist_while_the_interface_is_up():
    dataplane = Dataplane()
    empty = prefixes(dataplane)
    index = up(dataplane)
    added = {"10.0.1.0/24", "10.0.1.0/32", "10.0.1.1/32", "10.0.1.255/32"}
    assert set(prefixes(dataplane)) - set(empty) == added
    dataplane.set_admin_state(index, up=False)
    assert prefixes(dataplane) == empty
    dataplane.set_admin_state(index, up=True)
    dataplane.del_address(index, ip4("10.0.1.1"), 24)
    assert prefixes(dataplane) == empty


def test_second_address_of_a_subnet_keeps_the_subnet_when_the_first_goes():
    dataplane = Dataplane()
    index = up(dataplane)
    dataplane.add_address(index, ip4("10.0.1.9"), 24)
    dataplane.del_address(index, ip4("10.0.1.1"), 24)
    assert "10.0.1.0/24" in prefixes(dataplane)
    assert "10.0.1.1/32" not in prefixes(dataplane)
    assert "10.0.1.9/32" in prefixes(dataplane)


def test_overlapping_addresses_are_refused_but_not_across_tables():
    dataplane = Dataplane()
    up(dataplane)
    other = add_memory_interface(dataplane, "host-b").interface.sw_if_index
    refused(Retval.ADDRESS_IN_USE, dataplane.add_address, other, ip4("10.0.1.77"), 32)
    refused(Retval.ADDRESS_IN_USE, dataplane.add_address, 1, ip4("10.0.1.1"), 24)
    refused(Retval.ADDRESS_NOT_FOUND_FOR_INTERFACE, dataplane.del_address, other, 1, 24)
    dataplane.fibs.add(1)
    dataplane.set_table(other, 1)
    dataplane.add_address(other, ip4("10.0.1.1"), 24)
    refused(Retval.ADDRESS_FOUND_FOR_INTERFACE, dataplane.set_table, other, 0)


def test_a_deleted_table_stays_while_an_interface_is_in_it():
    dataplane = Dataplane()
    dataplane.fibs.add(1)
    index = add_memory_interface(dataplane, "host-a").interface.sw_if_index
    dataplane.set_table(index, 1)
    dataplane.delete_table(1)
    assert dataplane.fibs.find(1) is not None
    dataplane.set_table(index, 0)
    assert dataplane.fibs.find(1) is None
    dataplane.delete_table(0)
    assert dataplane.fibs.find(0) is not None


def test_a_weaker_route_is_shadowed_until_the_stronger_goes():
    dataplane = Dataplane()
    index = up(dataplane)
    own = dataplane.fibs.sources.add("mine", 0x90)
    drop = [Path(type=PathType.DROP)]
    dataplane.route_update(ip4("10.0.1.1"), 32, drop, source=own.id)
    entry = dataplane.fibs.get(0).get(ip4("10.0.1.1"), 32)
    assert entry is not None
    assert entry.paths[0].type is PathType.LOCAL
    dataplane.set_admin_state(index, up=False)
    assert entry.source == own.id
    assert entry.paths[0].type is PathType.DROP


def test_the_same_source_name_twice_gives_two_sources_and_the_first_is_stronger():
    dataplane = Dataplane()
    one, two = (dataplane.fibs.sources.add("mine", 0x90) for _ in range(2))
    assert two.id == one.id + 1
    prefix = (ip4("10.5.0.0"), 16)
    dataplane.route_update(*prefix, [Path(type=PathType.DROP)], source=two.id)
    dataplane.route_update(*prefix, [Path(type=PathType.ICMP_UNREACH)], source=one.id)
    entry = dataplane.fibs.get(0).get(*prefix)
    assert entry is not None
    assert entry.source == one.id
    refused(Retval.INVALID_VALUE, dataplane.route_update, *prefix, [], source=200)


def test_multipath_adds_and_removes_paths_and_a_plain_add_replaces_them():
    dataplane = Dataplane()
    prefix = (ip4("10.5.0.0"), 16)
    one, two = (Path(next_hop=ip4(f"10.0.1.{number}"), sw_if_index=1) for number in (2, 3))
    for path in (one, two, two):
        dataplane.route_update(*prefix, [path], multipath=True)
    entry = dataplane.fibs.get(0).get(*prefix)
    assert entry is not None
    assert entry.paths == (one, two)
    dataplane.route_delete(*prefix, [one], multipath=True)
    assert entry.paths == (two,)
    dataplane.route_update(*prefix, [one])
    assert entry.paths == (one,)
    dataplane.route_update(*prefix, [two], source=CLI)
    assert (entry.source, entry.paths) == (API, (one,))
    dataplane.route_delete(*prefix)
    assert (entry.source, entry.paths) == (CLI, (two,))
    dataplane.route_delete(*prefix, source=CLI)
    dataplane.route_delete(*prefix, source=CLI)
    assert dataplane.fibs.get(0).get(*prefix) is None


def test_routes_over_a_deleted_interface_stay_and_point_to_its_successor():
    dataplane = Dataplane()
    index = up(dataplane)
    dataplane.add_neighbor(index, ip4("10.0.1.2"), bytes(6))
    dataplane.route_update(ip4("10.7.0.0"), 16, [Path(next_hop=ip4("10.0.1.2"), sw_if_index=index)])
    dataplane.delete_interface(index)
    assert not len(dataplane.neighbors)
    entry = dataplane.fibs.get(0).get(ip4("10.7.0.0"), 16)
    assert entry is not None
    assert entry.paths[0].sw_if_index == index
    resolve = dataplane.graph.ip4.resolver.resolve
    assert resolve(dataplane.fibs.get(0), ip4("10.7.0.1")).actions[0].node.name == "ip4-drop"
    assert up(dataplane, "host-next", "10.8.0.1") == index
    action = resolve(dataplane.fibs.get(0), ip4("10.7.0.1")).actions[0]
    assert (action.node.name, action.interface.name) == ("ip4-arp", "host-next")


def test_unnumbered_needs_the_same_table():
    dataplane = Dataplane()
    index = up(dataplane)
    other = add_memory_interface(dataplane, "host-b").interface
    refused(Retval.INVALID_SW_IF_INDEX_2, dataplane.set_unnumbered, other.sw_if_index, 77)
    dataplane.set_unnumbered(other.sw_if_index, index)
    assert other.source_addresses() == [(ip4("10.0.1.1"), 24)]
    dataplane.clear_unnumbered(other.sw_if_index)
    dataplane.fibs.add(1)
    dataplane.set_table(other.sw_if_index, 1)
    refused(Retval.UNEXPECTED_INTF_STATE, dataplane.set_unnumbered, other.sw_if_index, index)


def test_a_neighbour_forwards_only_under_an_attached_prefix():
    dataplane = Dataplane()
    index = up(dataplane)
    empty = set(prefixes(dataplane))
    for address in ("10.0.1.2", "192.168.0.1"):
        dataplane.add_neighbor(index, ip4(address), bytes(6))
    dataplane.add_neighbor(index, ip4("10.0.1.3"), bytes(6), no_adj_fib=True)
    assert set(prefixes(dataplane)) - empty == {"10.0.1.2/32", "192.168.0.1/32"}
    table = dataplane.fibs.get(0)
    assert table.lookup(ip4("10.0.1.2")).length == 32
    assert table.lookup(ip4("192.168.0.1")).length == 0
    foreign = table.get(ip4("192.168.0.1"), 32)
    assert foreign is not None
    assert foreign.stats_index == 0xFFFFFFFF  # real VPP lists it so
    dataplane.route_update(ip4("192.168.0.0"), 24, [Path(sw_if_index=index)])
    assert table.lookup(ip4("192.168.0.1")) is foreign
    dataplane.route_delete(ip4("192.168.0.0"), 24)
    assert table.lookup(ip4("192.168.0.1")).length == 0
    dataplane.route_update(ip4("192.168.0.1"), 32, [Path(type=PathType.DROP)], source=20)
    assert (foreign.source, foreign.active) == (20, True)
    for address in ("10.0.1.2", "192.168.0.1"):
        dataplane.del_neighbor(index, ip4(address))
    assert set(prefixes(dataplane)) - empty == {"192.168.0.1/32"}


def test_going_down_forgets_what_was_learnt_but_not_what_was_said():
    dataplane = Dataplane(time=lambda: 5.0)
    index = up(dataplane)
    dataplane.add_neighbor(index, ip4("10.0.1.2"), b"static")
    dataplane.add_neighbor(index, ip4("10.0.1.2"), b"learnt", static=False)
    dataplane.add_neighbor(index, ip4("10.0.1.3"), b"learnt", static=False)
    found = dataplane.neighbors.get(index, ip4("10.0.1.2"))
    assert found is not None
    assert (found.mac, found.age(7.0)) == (b"static", 2.0)
    dataplane.set_admin_state(index, up=False)
    assert [neighbor.address for neighbor in dataplane.neighbors] == [ip4("10.0.1.2")]
    refused(Retval.NO_SUCH_ENTRY, dataplane.del_neighbor, index, ip4("10.0.1.3"))


def test_subscribers_hear_state_and_deletion():
    dataplane = Dataplane()
    heard = []
    stop = dataplane.subscribe_interfaces(lambda event, interface: heard.append((event, interface.flags)))
    index = dataplane.create_loopback().sw_if_index
    dataplane.set_admin_state(index, up=True)
    dataplane.set_admin_state(index, up=True)
    dataplane.delete_interface(index)
    stop()
    dataplane.create_loopback()
    assert heard == [
        (InterfaceEvent.CREATED, 0),
        (InterfaceEvent.STATE, 3),
        (InterfaceEvent.STATE, 0),
        (InterfaceEvent.DELETED, 0),
    ]


def test_statistics_indexes_of_entries_are_used_again():
    dataplane = Dataplane()
    one = dataplane.route_update(ip4("10.1.0.0"), 16, [Path(type=PathType.DROP)])
    dataplane.route_delete(ip4("10.1.0.0"), 16)
    two = dataplane.route_update(ip4("10.2.0.0"), 16, [Path(type=PathType.DROP)])
    assert two.stats_index == one.stats_index
    assert dataplane.fibs.entries.slots[two.stats_index] is two


def test_a_neighbour_moves_with_its_interface_to_another_table():
    dataplane = Dataplane()
    index = add_memory_interface(dataplane, "host-a").interface.sw_if_index
    dataplane.fibs.add(1)
    dataplane.add_neighbor(index, ip4("10.0.1.2"), bytes(6))
    assert "10.0.1.2/32" in prefixes(dataplane)
    dataplane.set_table(index, 1)
    assert "10.0.1.2/32" not in prefixes(dataplane)
    assert "10.0.1.2/32" in prefixes(dataplane, 1)


def test_two_interfaces_with_one_neighbour_address_keep_the_other_route():
    dataplane = Dataplane()
    first = up(dataplane)
    second = up(dataplane, "host-b", "10.0.2.1")
    for index in (first, second):
        dataplane.add_neighbor(index, ip4("10.0.1.2"), bytes(6))
    entry = dataplane.fibs.get(0).get(ip4("10.0.1.2"), 32)
    assert entry is not None
    assert [path.sw_if_index for path in entry.paths] == [first]
    dataplane.del_neighbor(first, ip4("10.0.1.2"))
    assert (entry.active, [path.sw_if_index for path in entry.paths]) == (False, [second])
