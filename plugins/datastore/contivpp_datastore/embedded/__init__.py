# SPDX-License-Identifier: Apache-2.0
"""A store of our own for clusters without etcd: SQLite behind a unix socket, for rigs and for one machine."""
