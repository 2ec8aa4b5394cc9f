# SPDX-License-Identifier: Apache-2.0
"""The rig in memory: agents, embedded VPPs, kernels and hosts' stacks in one process, under simulated time.

`rig` is what scenarios drive; `node` is one machine with its agent and its VPP; `devices` connects the embedded VPP's
ports to links of the kernel in memory; `underlay` is the switch between the machines, `outside` are hosts on it that
are no nodes. `apiserver` writes to the store that all agents watch, `kubelet` connects pods, `settling` waits until all
agents have seen what all have said.

A host's stack is `stack`, with `tables` (what the kernel in memory knows, ready for looking up), `reassembly`
(fragments and path MTUs), `packets` (formats), `servers` and `flows` (the two sides of a probe); `prober` sends probes
and says what came of them; `addresses` knows whose an address is.
"""
