# SPDX-License-Identifier: Apache-2.0
"""The container runtime's sandboxes, by CRI, compared with the attachments of this node."""
