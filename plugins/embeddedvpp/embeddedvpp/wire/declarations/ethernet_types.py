# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``ethernet_types`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module ethernet_types 1.0.0 f24103d6
alias mac_address u8[6]
"""
