# SPDX-License-Identifier: Apache-2.0
"""The cluster's store: drivers of `contivpp_core.kvstore.KVStore`, and the mirror of its content in the agent."""
