# SPDX-License-Identifier: Apache-2.0
"""The declarations against VPP's own definitions: from the folder that CONTIVPP_VPP_API names, or a running VPP.

Names of fields, layouts, numbers of enumerations and CRCs must agree. Our declarations may flatten nested structures.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contivpp_vpp import messages
from contivpp_vpp.connection import Connection
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.wire import schema
from contivpp_vpp.wire.parser import declarations
from contivpp_vpp.wire.schema import class_name

HEAD = {"_vl_msg_id", "client_index", "context"}


class Definitions:
    """What VPP's JSON says."""

    def __init__(self, modules: list[dict[str, Any]]) -> None:
        self.messages = {m[0]: m for module in modules for m in module["messages"]}
        self.types: dict[str, list[Any]] = {}
        self.enums: dict[str, list[Any]] = {}
        self.unions: dict[str, list[Any]] = {}
        self.aliases: dict[str, dict[str, Any]] = {}
        for module in modules:
            self.types |= {t[0]: t[1:] for t in module["types"]}
            self.enums |= {e[0]: e[1:] for e in module["enums"] + module["enumflags"]}
            self.unions |= {u[0]: u[1:] for u in module["unions"]}
            self.aliases |= module["aliases"]

    def message(self, name: str) -> list[Any]:
        """Leaves of a message, without its head."""
        fields = self.messages[name][1:-1]
        own = {"client_index", "context"} if name == "sockclnt_create_reply" else set()
        seen: set[str] = set()
        result = []
        for field in fields:
            if field[1] in HEAD | own and field[1] not in seen and len(seen) < 3 and not result:
                seen.add(field[1])
                continue
            result += self.field(field)
        return result

    def field(self, field: list[Any]) -> list[Any]:
        kind, name, *rest = [part for part in field if not isinstance(part, dict)]
        short = kind.removeprefix("vl_api_").removesuffix("_t") if kind.startswith("vl_api_") else kind
        if short in self.aliases and not rest:
            alias = self.aliases[short]
            return self.field([alias["type"], name, *([alias["length"]] if "length" in alias else [])])
        if short == "string" or (short == "u8" and rest and rest[0]):
            return [(name, short, rest[0])]
        if rest:
            element = [leaf[1:] for leaf in self.field([kind, name])] if short not in self.types else self.fields(short)
            return [(name, "array", rest[0], element)]
        if short in self.enums:
            base = next((m["enumtype"] for m in self.enums[short] if isinstance(m, dict)), "u32")
            numbers = {m[1]: m[0] for m in self.enums[short] if isinstance(m, list)}
            return [(name, base, numbers)]
        if short in self.unions:
            return [(name, "u8", max(self.size(arm) for arm in self.unions[short] if isinstance(arm, list)))]
        return self.fields(short) if short in self.types else [(name, short)]

    def fields(self, name: str) -> list[Any]:
        return [leaf for field in self.types[name] if isinstance(field, list) for leaf in self.field(field)]

    def size(self, arm: list[Any]) -> int:
        return int(self.field(arm)[0][2])


def leaves(name: str, wire: schema.Wire) -> list[Any]:
    """The same of our declarations."""
    match wire:
        case schema.Scalar(name=kind):
            return [(name, kind)]
        case schema.Bool():
            return [(name, "bool")]
        case schema.Float():
            return [(name, "f64")]
        case schema.Text(size=size):
            return [(name, "string", size)]
        case schema.Bytes(size=size):
            return [(name, "u8", size)]
        case schema.Choice(union=union):
            return [(name, "u8", union.size)]
        case schema.Enumeration(base=base, members=members):
            return [(name, base, {number: member for member, number in members})]
        case schema.Address(union=union, enumeration=enumeration):
            return [*leaves("af", enumeration), ("un", "u8", union.size)]
        case schema.Array(element=schema.Structure() as element, size=size):
            return [(name, "array", size, body(element))]
        case schema.Array(element=element, size=size):
            return [(name, "array", size, [leaf[1:] for leaf in leaves(name, element)])]
        case schema.Structure():
            return body(wire)
    raise AssertionError(wire)


def body(structure: schema.Structure) -> list[Any]:
    return [leaf for field in structure.fields for leaf in leaves(field.name, field.wire)]


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs), (ours, theirs)
    for mine, other in zip(ours, theirs, strict=True):
        if mine[1] == "array" and isinstance(mine[3][0][0], str) and len(mine[3][0]) > 1:
            assert mine[:3] == other[:3]
            assert_same(mine[3], other[3])
        elif isinstance(mine[-1], dict):
            assert mine[:-1] == other[:-1]
            assert mine[-1].keys() == other[-1].keys(), mine[0]
            for number, member in mine[-1].items():
                assert other[-1][number].endswith(member)
        else:
            assert mine == other


def compare(definitions: Definitions, *, without: frozenset[str] = frozenset()) -> None:
    for name, message in declarations().messages.items():
        if name in without:
            continue
        assert name in definitions.messages, name
        assert int(definitions.messages[name][-1]["crc"], 16) == message.crc, name
        retval = [(message.retval, "i32")] if message.retval else []
        whole = body(message.body) + retval if message.retval_last else retval + body(message.body)
        assert_same(whole, definitions.message(name))


def test_declarations_are_what_vpp_defines():
    folder = os.environ.get("CONTIVPP_VPP_API")
    if not folder:
        pytest.skip("CONTIVPP_VPP_API does not name a folder with VPP's *.api.json")
    compare(Definitions([json.loads(path.read_text()) for path in sorted(Path(folder).rglob("*.api.json"))]))


@pytest.mark.realvpp
async def test_declarations_are_what_a_running_vpp_says():
    async with real_vpp() as vpp:
        connection = await Connection.open(unix_socket(vpp.api_socket))
        reply = await connection.request(messages.GetApiJson())
        connection.require(getattr(messages, class_name(name)) for name in declarations().messages)
        connection.close()
    # The definitions of the hand-shake itself are not in what VPP hands out; their CRCs are in its table.
    handshake = frozenset(declarations().files["memclnt"])
    compare(Definitions(json.loads(reply.json)), without=handshake)
