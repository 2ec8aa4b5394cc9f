# SPDX-License-Identifier: Apache-2.0
"""The rig in memory: agent, embedded VPP, kernel and pods in one process, under simulated time.

`rig` is what scenarios drive; `node` is one node with its agent and its VPP; `devices` connects the embedded VPP's
ports to links of the kernel in memory. A pod's host stack is `stack`, with `tables` (what the kernel in memory knows,
ready for looking up), `packets` (formats), `servers` and `flows` (the two sides of a probe); `prober` sends probes and
says what came of them.
"""
