# SPDX-License-Identifier: Apache-2.0
"""Items and descriptors of Linux links, addresses, routes, neighbours and sysctls for Contiv-VPP."""
