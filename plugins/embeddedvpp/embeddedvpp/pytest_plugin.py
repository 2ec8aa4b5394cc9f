# SPDX-License-Identifier: Apache-2.0
"""Fixtures that run an embedded VPP inside a test."""
