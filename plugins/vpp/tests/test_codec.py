# SPDX-License-Identifier: Apache-2.0
"""The compiled codecs against vpp_papi's serializer, which is the reference, and what they refuse."""

import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from vpp_papi import vpp_serializer

from contivpp_vpp import messages
from contivpp_vpp.wire import schema
from contivpp_vpp.wire.check import mask, problems
from contivpp_vpp.wire.codec import codec
from contivpp_vpp.wire.errors import InvalidMessage, MalformedMessage
from contivpp_vpp.wire.parser import declarations
from contivpp_vpp.wire.schema import class_name

ALL = declarations().messages
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=31)


def values(wire: schema.Wire) -> st.SearchStrategy[Any]:
    """Any good value of a wire form."""
    match wire:
        case schema.Scalar(name=name):
            return st.integers(*schema.SCALARS[name][1:])
        case schema.Bool():
            return st.booleans()
        case schema.Float():
            return st.floats(allow_nan=False)
        case schema.Text():
            return TEXT
        case schema.Enumeration(flags=True):
            cls = getattr(messages, class_name(wire.name))
            return st.integers(0, mask(wire)).map(lambda n: cls(n & mask(wire)))
        case schema.Enumeration():
            return st.sampled_from(list(getattr(messages, class_name(wire.name))))
        case schema.Bytes(size=size):
            return st.binary(min_size=size, max_size=size)
        case schema.Address(union=union):
            return st.one_of(*(st.binary(min_size=size, max_size=size) for _, size in union.arms))
        case schema.Array(element=schema.Scalar(name="u8")):
            return st.binary(max_size=40)
        case schema.Array(element=element, size=size, counter=counter):
            elements = st.lists(values(element), min_size=0 if counter else size, max_size=size or 5)
            return elements.map(tuple)
        case schema.Structure():
            return bodies(wire, getattr(messages, class_name(wire.name)))
    raise AssertionError(wire)


@st.composite
def bodies(draw: st.DrawFn, structure: schema.Structure, cls: type[Any]) -> Any:
    content: dict[str, Any] = {}
    for field in structure.fields:
        if field.name in structure.hidden():
            continue
        if isinstance(field.wire, schema.Choice):
            sizes = {field.wire.enumeration.value(m): n for m, n in field.wire.union.arms}
            size = sizes.get(content[field.wire.discriminator], field.wire.union.size)
            content[field.name] = draw(st.binary(min_size=size, max_size=size).filter(lambda b: len(b) == 4 or any(b)))
        else:
            content[field.name] = draw(values(field.wire))
        for rule in structure.rules:
            if isinstance(rule, schema.Only) and rule.field == field.name:
                members = [structure.enumeration(field.name).value(member) for member in rule.members]
                content[field.name] = draw(st.sampled_from(members))
    for rule in structure.rules:
        if isinstance(rule, schema.Limit):
            content[rule.field] = min(content[rule.field], 8 * len(content[rule.of]))
        elif isinstance(rule, schema.Sum):
            content[rule.field] = draw(shared(content[rule.field], rule))
        elif isinstance(rule, schema.Needs) and content[rule.field] == rule.none:
            content[rule.field] = 1
    return cls(**content)


def shared(elements: tuple[Any, ...], rule: schema.Sum) -> st.SearchStrategy[tuple[Any, ...]]:
    """The elements with other numbers, whose sum the rule allows."""
    if not elements:
        return st.just(())
    most = rule.largest // len(elements)
    numbers = st.lists(st.integers(1, most), min_size=len(elements), max_size=len(elements))
    pairs = numbers.map(lambda found: zip(elements, found, strict=True))
    return pairs.map(lambda found: tuple(replace(each, **{rule.member: number}) for each, number in found))


# vpp_papi's view of our declarations


def define(wire: schema.Wire, done: set[str]) -> list[Any]:  # noqa: C901 - one case for each wire form
    """Tell vpp_papi of a wire form; the beginning of a field of it."""
    match wire:
        case schema.Scalar(name=name):
            return [name]
        case schema.Bool():
            return ["bool"]
        case schema.Float():
            return ["f64"]
        case schema.Text(size=size):
            return ["string", size]
        case schema.Bytes(size=size):
            return ["u8", size]
        case schema.Enumeration(name=name, base=base, members=members):
            if name not in done:
                vpp_serializer.VPPEnumType(f"our_{name}", [*map(list, members), {"enumtype": base}])
        case schema.Array(element=element, size=0, counter=counter):
            return [*define(element, done), 0, counter]
        case schema.Array(element=element, size=size):
            return [*define(element, done), size]
        case schema.Choice(union=union):
            return ["u8", union.size]
        case schema.Address(name=name, union=union, enumeration=enumeration):
            if name not in done:
                vpp_serializer.VPPType(f"our_{name}", [[*define(enumeration, done), "af"], ["u8", "un", union.size]])
        case schema.Structure(name=name, fields=fields):
            if name not in done:
                vpp_serializer.VPPType(f"our_{name}", [layout(field, done) for field in fields])
    done.add(wire.name)
    return [f"our_{wire.name}"]


def layout(field: schema.Field, done: set[str]) -> list[Any]:
    kind, *rest = define(field.wire, done)
    return [kind, field.name, *rest]


def papi_message(message: schema.Message) -> Any:
    done: set[str] = set()
    head = [["u16", "_vl_msg_id"]]
    head += [["u32", "client_index_"]] * message.client_index + [["u32", "context_"]] * message.context
    retval = [["i32", message.retval]] if message.retval else []
    fields = [layout(f, done) for f in message.body.fields]
    whole = fields + retval if message.retval_last else retval + fields
    return vpp_serializer.VPPMessage(f"our_{message.name}", head + whole)


def papi_value(wire: schema.Wire, value: Any) -> Any:
    match wire:
        case schema.Address(union=union, enumeration=enumeration):
            family = next(enumeration.value(m) for m, size in union.arms if size == len(value))
            return {"af": family, "un": value.ljust(union.size, b"\0")}
        case schema.Choice(union=union):
            return value.ljust(union.size, b"\0")
        case schema.Array(element=schema.Scalar(name="u8")):
            return value
        case schema.Array(element=element, size=size, counter=counter):
            given = [papi_value(element, one) for one in value]
            return given + [{}] * (size - len(given)) if size and counter else given
        case schema.Structure():
            return papi_body(wire, value)
    return value


def papi_body(structure: schema.Structure, value: Any) -> dict[str, Any]:
    result = {}
    for field in structure.fields:
        if isinstance(field.wire, schema.Array) and field.wire.counter:
            result[field.wire.counter] = len(getattr(value, field.name))
        if field.name not in structure.hidden():
            result[field.name] = papi_value(field.wire, getattr(value, field.name))
    return result


@pytest.mark.parametrize("name", sorted(ALL))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bytes_are_those_of_vpp_papi_and_decode_to_the_same(name: str, data: st.DataObject):
    message = ALL[name]
    cls = getattr(messages, class_name(name))
    value = data.draw(bodies(message.body, cls))
    number, client, context = 1234, 0xCAFE, 0xFFFFFFFE
    raw = codec(cls).encode(value, number=number, client_index=client, context=context)
    head = {"_vl_msg_id": number, "client_index_": client, "context_": context, message.retval: 0}
    assert raw == papi_message(message).pack(head | papi_body(message.body, value))
    assert codec(cls).decode(raw) == value


@pytest.mark.parametrize("name", sorted(ALL))
def test_defaults_can_be_sent(name: str):
    cls = getattr(messages, class_name(name))
    assert codec(cls).decode(codec(cls).encode(cls(), number=1)) == cls()


def mapping(*probabilities: int) -> messages.Nat44AddDelLbStaticMapping:
    locals_ = tuple(messages.Nat44LbAddrPort(probability=number) for number in probabilities)
    return messages.Nat44AddDelLbStaticMapping(locals=locals_)


def route(**path: Any) -> messages.IpRouteAddDelV2:
    return messages.IpRouteAddDelV2(route=messages.IpRouteV2(paths=(messages.FibPath(**path),)))


@pytest.mark.parametrize(
    ("message", "where"),
    [
        pytest.param(route(type=4), "obj_id: type BIER_IMP needs one", id="path type that wants an object"),
        pytest.param(route(type=9), "sw_if_index: type INTERFACE_RX needs one", id="path type that wants an interface"),
        pytest.param(route(proto=2, address=b""), "proto: 2 kills VPP here, only IP4, IP6", id="next hop of MPLS"),
        pytest.param(route(type=99), "type: 99 is no value", id="unknown path type"),
        pytest.param(route(flags=8), "flags: 0x8 has bits", id="unknown flag"),
        pytest.param(route(weight=256), "weight: 256 is not in", id="number too large"),
        pytest.param(route(weight=-1), "weight: -1 is not in", id="negative number"),
        pytest.param(route(weight=1.5), "weight: 1.5 is not an integer", id="not an integer"),
        pytest.param(route(address=bytes(16)), "address: 16 bytes", id="address of the other family"),
        pytest.param(route(label_stack=(messages.FibMplsLabel(),) * 17), "at most 16 fit", id="too many labels"),
        pytest.param(
            messages.IpRouteAddDelV2(route=messages.IpRouteV2(paths=(messages.FibPath(),) * 256)),
            "route.paths: 256 elements, at most 255",
            id="too many paths",
        ),
        pytest.param(
            messages.IpRouteAddDelV2(route=messages.IpRouteV2(prefix=messages.Prefix(len=33))),
            "route.prefix.len: 33 is more than the 32 bits",
            id="prefix too long",
        ),
        pytest.param(messages.AfPacketDelete(host_if_name="x" * 64), "64 bytes, at most 63", id="long string"),
        pytest.param(messages.AfPacketDelete(host_if_name="ä" * 32), "64 bytes, at most 63", id="long in UTF-8"),
        pytest.param(messages.AfPacketDelete(host_if_name="a\0b"), "contains NUL", id="NUL"),
        pytest.param(messages.CliInband(cmd="a\0b"), "cmd: .* contains NUL", id="NUL in a long string"),
        pytest.param(messages.CliInband(cmd=None), "cmd: None is not a string", id="no string"),
        pytest.param(messages.CreateLoopback(mac_address=bytes(5)), "is not 6 bytes", id="short MAC"),
        pytest.param(messages.SwInterfaceSetMtu(mtu=(1, 2)), "exactly 4", id="short array"),
        pytest.param(
            messages.IpNeighborAddDel(neighbor=messages.IpNeighbor(ip_address=b"abc")), "4 or 16", id="address"
        ),
        pytest.param(messages.IpTableAddDel(table=None), "table.: None is not a IpTable", id="wrong class"),
        pytest.param(mapping(0, 0), "locals: a sum of probability of 0 kills", id="no backend is ever chosen"),
        pytest.param(mapping(128, 128), "locals: a sum of probability of 256 kills", id="a sum that is 0 in a byte"),
        pytest.param(mapping(200, 100), "locals: a sum of probability of 300 kills", id="a sum beyond a byte"),
        pytest.param(mapping(255, *[0] * 255), "locals: 256 elements kill VPP", id="more backends than VPP counts"),
    ],
)
def test_what_could_kill_vpp_is_refused_by_name(message: Any, where: str):
    with pytest.raises(InvalidMessage, match=where) as caught:
        codec(type(message)).encode(message, number=1)
    assert str(caught.value).startswith(message.MESSAGE)


WRONG = [-1, 2**64, 300, "x" * 100, "\0", None, b"abc", 1.5, (), 77]


@pytest.mark.parametrize("name", sorted(name for name, message in ALL.items() if message.answer))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_compiled_and_slow_checks_agree(name: str, data: st.DataObject):
    """Whatever one field is set to: either both have something against it, or none."""
    message = ALL[name]
    cls = getattr(messages, class_name(name))
    value = data.draw(bodies(message.body, cls))
    visible = [f for f in message.body.fields if f.name not in message.body.hidden()]
    fields = [f for f in visible if not isinstance(f.wire, schema.Bool)]
    if not fields:
        return
    field = data.draw(st.sampled_from(fields))
    content = {f: getattr(value, f) for f in value.__struct_fields__}
    changed = cls(**content | {field.name: data.draw(st.sampled_from(WRONG))})
    found = list(problems(message.body, changed))
    if found:
        with pytest.raises(InvalidMessage):
            codec(cls).encode(changed, number=1)
    else:
        codec(cls).encode(changed, number=1)


def cuts(raw: bytes) -> Iterator[bytes]:
    for end in range(2, len(raw)):
        yield raw[:end]


@pytest.mark.parametrize(
    "message",
    [
        messages.CliInbandReply(reply="hello"),
        messages.IpRouteV2Details(route=messages.IpRouteV2(paths=(messages.FibPath(),))),
        messages.SwInterfaceEvent(),
    ],
)
def test_cut_off_messages_are_malformed(message: Any):
    raw = codec(type(message)).encode(message, number=1)
    for cut in cuts(raw):
        with pytest.raises(MalformedMessage, match=message.MESSAGE):
            codec(type(message)).decode(cut)


def test_unknown_numbers_of_a_newer_vpp_are_kept():
    raw = bytearray(
        codec(messages.IpRouteV2Details).encode(
            messages.IpRouteV2Details(route=messages.IpRouteV2(paths=(messages.FibPath(),))), number=1
        )
    )
    place = 2 + 4 + 4 + 4 + 18 + 2 + 14
    struct.pack_into(">III", raw, place, 200, 0x40000001, 9)
    path = codec(messages.IpRouteV2Details).decode(bytes(raw)).route.paths[0]
    assert (path.type, int(path.flags), path.proto) == (200, 0x40000001, 9)


def test_strings_that_are_no_utf8_survive():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    raw = codec(messages.AfPacketDelete).encode(messages.AfPacketDelete(host_if_name=name), number=1)
    assert b"caf\xe9\0" in raw
    assert codec(messages.AfPacketDelete).decode(raw).host_if_name == name


def test_addresses_are_packed_bytes():
    prefix = messages.Prefix(address=ip_address("2001:db8::").packed, len=32)
    raw = codec(messages.IpAddressDetails).encode(messages.IpAddressDetails(prefix=prefix), number=1)
    assert raw.endswith(b"\x01" + prefix.address + b"\x20")


# --- speed, as ratios in one run

MAPPING = messages.Nat44AddDelLbStaticMapping(
    flags=messages.NatConfigFlags.OUT2IN_ONLY,
    external_addr=bytes([10, 96, 0, 1]),
    external_port=80,
    protocol=6,
    tag="contivpp/1/default/web:http",
    locals=tuple(
        messages.Nat44LbAddrPort(addr=bytes([10, 1, 1, number]), port=8080, probability=15, vrf_id=1)
        for number in range(10)
    ),
)
RULES = messages.AclAddReplace(
    tag="contivpp/1/policy",
    r=tuple(
        messages.AclRule(
            is_permit=messages.AclAction.PERMIT,
            src_prefix=messages.Prefix(address=number.to_bytes(4, "big"), len=32),
            proto=messages.IpProto.TCP,
            dstport_or_icmpcode_first=80,
            dstport_or_icmpcode_last=80,
        )
        for number in range(1000)
    ),
)
MAPPING_HEAD, LOCAL = struct.Struct(">HII?B4sHBI64sI"), struct.Struct(">4sHBI")
ACL_HEAD, RULE = struct.Struct(">HIII64sI"), struct.Struct(">BB16sBB16sBBHHHHBB")


def mapping_by_hand(m: messages.Nat44AddDelLbStaticMapping, number: int, client: int, context: int) -> bytes:
    """What one would write for this message alone, without any check."""
    head = MAPPING_HEAD.pack(
        number, client, context, m.is_add, m.flags, m.external_addr, m.external_port, m.protocol, m.affinity,
        m.tag.encode(), len(m.locals),
    )  # fmt: skip
    return head + b"".join([LOCAL.pack(x.addr, x.port, x.probability, x.vrf_id) for x in m.locals])


def rules_by_hand(m: messages.AclAddReplace, number: int, client: int, context: int) -> bytes:
    parts = [ACL_HEAD.pack(number, client, context, m.acl_index, m.tag.encode(), len(m.r))]
    for rule in m.r:
        source, destination = rule.src_prefix, rule.dst_prefix
        packed = RULE.pack(
            rule.is_permit, len(source.address) == 16, source.address, source.len, len(destination.address) == 16,
            destination.address, destination.len, rule.proto, rule.srcport_or_icmptype_first,
            rule.srcport_or_icmptype_last, rule.dstport_or_icmpcode_first, rule.dstport_or_icmpcode_last,
            rule.tcp_flags_mask, rule.tcp_flags_value,
        )  # fmt: skip
        parts.append(packed)
    return b"".join(parts)


def seconds(work: Callable[[], object], repeat: int) -> float:
    begin = time.process_time()
    for _ in range(repeat):
        work()
    return (time.process_time() - begin) / repeat


@pytest.mark.parametrize(
    ("message", "by_hand", "repeat"), [(MAPPING, mapping_by_hand, 500), (RULES, rules_by_hand, 5)], ids=["nat", "acl"]
)
def test_arrays_are_coded_nearly_as_fast_as_by_hand(message: Any, by_hand: Callable[..., bytes], repeat: int):
    """Nearly: it also looks whether VPP stands the message. vpp_papi's serializer needs ten times as long and more."""
    encode = codec(type(message)).encode_fast
    assert encode(message, 1, 2, 3) == by_hand(message, 1, 2, 3)
    rounds = [
        (seconds(lambda: encode(message, 1, 2, 3), repeat), seconds(lambda: by_hand(message, 1, 2, 3), repeat))
        for _ in range(20)
    ]
    ours, theirs = (min(times) for times in zip(*rounds, strict=True))
    assert ours < 2.5 * theirs
