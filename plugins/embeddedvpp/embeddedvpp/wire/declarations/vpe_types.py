# SPDX-License-Identifier: Apache-2.0
"""Declarations of VPP v26.06's ``vpe_types`` API; the format is explained in ``wire.declarations``."""

TEXT = """
module vpe_types 1.0.0 5f754a1c
enum log_level u32: VPE_API_LOG_LEVEL_EMERG=0; VPE_API_LOG_LEVEL_ALERT=1; VPE_API_LOG_LEVEL_CRIT=2;
    VPE_API_LOG_LEVEL_ERR=3; VPE_API_LOG_LEVEL_WARNING=4; VPE_API_LOG_LEVEL_NOTICE=5;
    VPE_API_LOG_LEVEL_INFO=6; VPE_API_LOG_LEVEL_DEBUG=7; VPE_API_LOG_LEVEL_DISABLED=8
alias timestamp f64
alias timedelta f64
struct version: u32 major; u32 minor; u32 patch; u8 pre_release[17]; u8 build_metadata[17]
"""
