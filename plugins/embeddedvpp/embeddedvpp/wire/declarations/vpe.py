# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``vpe`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module vpe 1.7.0 bbfa7484
import vpp/api/vpe_types.api
request show_version 51077d14:
reply show_version_reply c919bde1: i32 retval; string program[32]; string version[32];
    string build_date[32]; string build_directory[256]
request show_vpe_system_time 51077d14:
reply show_vpe_system_time_reply 7ffd8193: i32 retval; timestamp vpe_system_time
service show_version show_version_reply
service show_vpe_system_time show_vpe_system_time_reply
"""
