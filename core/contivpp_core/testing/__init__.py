# SPDX-License-Identifier: Apache-2.0
"""Test kit for plugin authors."""
