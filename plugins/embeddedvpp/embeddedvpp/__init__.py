# SPDX-License-Identifier: Apache-2.0
"""An FD.io VPP in Python: binary API, statistics segment, CLI socket and a packet graph."""
