# SPDX-License-Identifier: Apache-2.0
"""The real servers of a cluster, in a sandbox and in tests: etcd, kube-apiserver, `contivpp ksr`."""
