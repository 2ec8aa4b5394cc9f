# SPDX-License-Identifier: Apache-2.0
"""The agent core of Contiv-VPP: state, renderers, scheduler, plugin loading and the contivpp command."""
