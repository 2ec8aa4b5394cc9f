# SPDX-License-Identifier: Apache-2.0
"""VPP's binary API on the wire: declarations of messages, and the codecs compiled from them.

The declarations are text files in `declarations/`. From them `python -m contivpp_vpp.wire.generate` writes
the typed classes in `contivpp_vpp.messages`, and `codec` compiles, when a message is first used, its encoder
and decoder. Sockets are elsewhere (`contivpp_vpp.connection`).
"""
