# SPDX-License-Identifier: Apache-2.0
"""Subnets and addresses of pods and nodes for Contiv-VPP."""
