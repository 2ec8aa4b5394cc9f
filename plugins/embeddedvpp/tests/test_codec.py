# SPDX-License-Identifier: Apache-2.0
"""The generated codecs against vpp_papi's serializer, and the declarations against VPP's own JSON."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddedvpp.wire.codec import CodecError, Message, codecs, types
from embeddedvpp.wire.declarations import BASE_TYPES, Field, load
from embeddedvpp.wire.definitions_json import all_modules

VPP_JSON = Path(os.environ.get("CONTIVPP_VPP_API", "no such folder"))
TYPES = {found.name: found for module in load().values() for found in module.types}
WIDTH = {"u8": 8, "u16": 16, "u32": 32, "u64": 64}
LETTERS = st.characters(min_codepoint=32, max_codepoint=126)


def resolved(field: Field) -> Field:
    while field.type not in BASE_TYPES and TYPES[field.type].kind in ("alias", "enum", "flags"):
        found = TYPES[field.type]
        if found.kind == "alias":
            length = found.fields[0].length if found.fields[0].length is not None else field.length
            field = Field(found.fields[0].type, field.name, length)
        else:
            field = Field(found.base, field.name, field.length)
    return field


def value(field: Field) -> st.SearchStrategy[Any]:
    if field.type == "address_family" or field.name == "len":  # vpp_papi makes address objects of them
        return st.integers(0, 1 if field.type == "address_family" else 32)
    field = resolved(field)
    if field.type == "string":
        return st.text(LETTERS, max_size=(field.length - 1) if isinstance(field.length, int) else 30)
    if field.type == "u8" and isinstance(field.length, int):
        return st.binary(min_size=field.length, max_size=field.length)
    if isinstance(field.length, int):
        one = value(Field(field.type, field.name))
        return st.lists(one, min_size=field.length, max_size=field.length).map(tuple)
    if isinstance(field.length, str):
        return st.lists(value(Field(field.type, field.name)), max_size=3).map(tuple)
    if field.type == "bool":
        return st.booleans()
    if field.type == "f64":
        return st.floats(0, 1e9)  # vpp_papi makes times of them
    if field.type in ("i8", "i16", "i32", "i64"):
        return st.integers(-(2 ** (int(field.type[1:]) - 1)), 2 ** (int(field.type[1:]) - 1) - 1)
    if field.type in WIDTH:
        return st.integers(0, 2 ** WIDTH[field.type] - 1)
    definition = TYPES[field.type]
    if definition.kind == "union":
        return st.binary(min_size=16, max_size=16)
    counts = {found.length for found in definition.fields}
    members = {found.name: value(found) for found in definition.fields if found.name not in counts}
    return st.fixed_dictionaries(members).map(lambda fields: types()[definition.name](**fields))


def messages(name: str) -> st.SearchStrategy[Any]:
    definition = codecs()[name].definition
    counts = {found.length for found in definition.fields} | {"_vl_msg_id"}
    fields = {found.name: value(found) for found in definition.fields if found.name not in counts}
    return st.fixed_dictionaries(fields).map(lambda made: codecs()[name].make(**made))


@pytest.mark.parametrize("name", sorted(codecs()))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_decoding_gives_back_what_was_encoded(name: str, data: st.DataObject) -> None:
    codec = codecs()[name]
    packed = codec.encode(data.draw(messages(name)))
    assert codec.encode(codec.decode(packed)) == packed
    with pytest.raises(CodecError):
        codec.decode(packed[:-1])


@pytest.mark.parametrize("name", sorted(codecs()))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_vpp_papi_reads_the_same_bytes(name: str, data: st.DataObject) -> None:
    papi = papi_messages()[name]
    codec = codecs()[name]
    message = data.draw(messages(name))
    found, _ = papi.unpack(codec.encode(message))
    compare(found, codec.decode(codec.encode(message)))


@cache
def papi_messages() -> Any:
    from vpp_papi.vpp_papi import VPPApiJSONFiles

    return VPPApiJSONFiles.process_json_array_str(all_modules())[0]


def compare(theirs: Any, ours: Any) -> None:
    """Plain fields and nested structures; vpp_papi turns addresses into objects, whose bytes are compared above."""
    for name in ours._fields:
        mine, other = getattr(ours, name), getattr(theirs, name, None)
        if isinstance(mine, Message) and hasattr(other, "_fields"):
            compare(other, mine)
        elif isinstance(mine, int | str | float) and isinstance(other, int | str | float):
            assert other == mine, name


@pytest.mark.skipif(not VPP_JSON.is_dir(), reason="VPP's API definitions are not on this machine")
def test_declarations_are_those_of_vpp() -> None:
    real = {}
    for path in VPP_JSON.glob("*/*.api.json"):
        module = json.loads(path.read_text())
        real[module["module"]] = {found[0]: found for found in module["messages"]}
    for module in json.loads(all_modules()):
        for message in module["messages"]:
            wanted = real[module["module"]][message[0]]
            options = {key: found for key, found in wanted[-1].items() if key != "comment"}
            assert message == [*wanted[:-1], options]
