# SPDX-License-Identifier: Apache-2.0
"""The agent's side of CNI: requests, results, and the socket that the CNI executable talks to."""
