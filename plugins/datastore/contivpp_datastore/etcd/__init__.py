# SPDX-License-Identifier: Apache-2.0
"""The etcd v3 driver of `contivpp_core.kvstore.KVStore`. It imports grpc: import it only when it is configured."""
