# SPDX-License-Identifier: Apache-2.0
"""Kubernetes State Reflector: objects of the API server, into the cluster's store or into an agent's tables."""
