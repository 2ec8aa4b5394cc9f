# SPDX-License-Identifier: Apache-2.0
"""Errors of the codecs."""


class InvalidMessage(ValueError):
    """A message must not be sent: VPP could die of it. Names the message, the field and what is wrong."""


class MalformedMessage(ValueError):
    """Bytes from VPP are not the message that they claim to be."""
