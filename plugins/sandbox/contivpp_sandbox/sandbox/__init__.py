# SPDX-License-Identifier: Apache-2.0
"""A node on this machine: VPP, agent and pods as processes in network namespaces of their own."""
