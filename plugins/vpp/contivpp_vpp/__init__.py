# SPDX-License-Identifier: Apache-2.0
"""The shared VPP connection of Contiv-VPP, and items and descriptors of VPP objects."""
