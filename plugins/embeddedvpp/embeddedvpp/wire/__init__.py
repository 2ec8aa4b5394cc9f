# SPDX-License-Identifier: Apache-2.0
"""VPP's binary API on the wire: declarations of the messages, and codecs that are generated from them."""
