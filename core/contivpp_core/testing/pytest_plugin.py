# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of Contiv-VPP plugins."""
