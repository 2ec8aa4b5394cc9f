# SPDX-License-Identifier: Apache-2.0
"""The declarations: readable, and the generated classes are what they say."""

from pathlib import Path

import pytest

from contivpp_vpp import messages
from contivpp_vpp.wire.generate import generate
from contivpp_vpp.wire.parser import DeclarationError, Declarations


def test_generated_modules_are_up_to_date():
    folder = Path(messages.__file__).parent
    stored = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    assert stored == generate(), "run python -m contivpp_vpp.wire.generate"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("request a_b 0x1", "KIND NAME CRC", id="short CRC"),
        pytest.param("request a_b 0x00000001", "-> ANSWER", id="request without reply"),
        pytest.param("reply a_b 0x00000001 -> c", "-> ANSWER", id="reply with an answer"),
        pytest.param("type a\n    b: u9", "u9", id="unknown type"),
        pytest.param("type a\n    b: u8\n    b: u8", "declared twice", id="field twice"),
        pytest.param("enum a u8\n    X = 1\nenum a u8\n    X = 1", "declared twice", id="name twice"),
        pytest.param("union u\n    A: u8[4]\ntype t\n    x: u by kind", "enumeration before it", id="no discriminator"),
        pytest.param("type a\n    what is this", "neither a field nor a rule", id="nonsense"),
    ],
)
def test_a_wrong_declaration_is_named_with_its_place(text: str, reason: str):
    with pytest.raises(DeclarationError, match=reason) as caught:
        Declarations().read("mine", text)
    assert str(caught.value).startswith("mine:")


def test_a_new_message_needs_only_its_declaration():
    source = Declarations()
    source.read("types", "enum colour u8\n    RED = 1")
    source.read("mine", "request paint 0x0000002a -> paint_reply\n    c: colour\n\nreply paint_reply 0xe8d4e804")
    assert source.messages["paint"].crc == 42
    assert source.files["mine"] == ["paint", "paint_reply"]
