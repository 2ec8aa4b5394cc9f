# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``vlib`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module vlib 1.0.0 9a9e84e4
type thread_data: u32 id; string name[64]; string type[64]; u32 pid; u32 cpu_id; u32 core; u32 cpu_socket
request cli 23bfbfff: u64 cmd_in_shmem
request cli_inband f8377302: string cmd[]
reply cli_reply 06d68297: i32 retval; u64 reply_in_shmem
reply cli_inband_reply 05879051: i32 retval; string reply[]
service cli cli_reply
service cli_inband cli_inband_reply
"""
