# SPDX-License-Identifier: Apache-2.0
"""Node and pod wiring, and the CNI server, of Contiv-VPP."""
