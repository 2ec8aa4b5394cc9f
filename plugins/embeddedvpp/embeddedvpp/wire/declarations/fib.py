# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``fib`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module fib 1.0.0 4ef4abc1
import vnet/fib/fib_types.api
import vnet/ip/ip_types.api
struct fib_source: u8 priority; u8 id; string name[64]
request fib_source_add b3ac2aec: fib_source src
reply fib_source_add_reply 604fd6f1: i32 retval; u8 id
request fib_source_dump 51077d14:
reply fib_source_details 8668acdb: fib_source src
service fib_source_add fib_source_add_reply
service fib_source_dump fib_source_details stream
"""
