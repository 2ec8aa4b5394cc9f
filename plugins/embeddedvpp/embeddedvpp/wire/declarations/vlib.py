# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``vlib`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module vlib 1.0.0 9a9e84e4
type thread_data: u32 id; string name[64]; string type[64]; u32 pid; u32 cpu_id; u32 core; u32 cpu_socket
request cli_inband f8377302: string cmd[]
reply cli_inband_reply 05879051: i32 retval; string reply[]
service cli_inband cli_inband_reply
"""
