# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests, each in a temporary folder and on loopback."""
