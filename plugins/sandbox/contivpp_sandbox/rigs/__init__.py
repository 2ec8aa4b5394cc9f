# SPDX-License-Identifier: Apache-2.0
"""Rigs: whole clusters to run scenarios on. `base` is what they have in common; each rig has a folder."""
