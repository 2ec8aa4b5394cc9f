# SPDX-License-Identifier: Apache-2.0
"""The CNI executable of Contiv-VPP and its installer."""
