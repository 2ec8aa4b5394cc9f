# SPDX-License-Identifier: Apache-2.0
"""What would change in the dataplanes, now or under another configuration or set of objects; nothing is applied.

The desired dataplane is a pure function of observed state. So a plan is a rehearsal: a second agent is made from the
other configuration and never started, its tables get copies of the running one's records, its renderers run from
scratch, and a scheduler of its own decides over a copy of what is there, with descriptors that send nothing. What
these note is what the running agent would send, in this order; what still waits then, would wait.

`snapshot` copies (in the event loop, without waiting); all else happens in a thread. `request` is what is asked,
`result` what is answered.
"""

from contivpp_core.plan.planner import Planner
from contivpp_core.plan.result import Blocked, Change, Plan

__all__ = ["Blocked", "Change", "Plan", "Planner"]
