# SPDX-License-Identifier: Apache-2.0
"""A Contiv-VPP cluster on one machine: sandbox, scenarios and the demo."""
