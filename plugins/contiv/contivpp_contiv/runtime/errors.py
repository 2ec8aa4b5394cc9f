# SPDX-License-Identifier: Apache-2.0
"""Why the runtime's sandboxes are not known.

    RuntimeFault     no whole answer: nothing is concluded, and it is tried again
    ├── NoSandbox    there is no sandbox of this ID
    └── NoCri        what listens at the socket does not serve the CRI
"""

from __future__ import annotations

from contivpp_core.errors import ContivError

__all__ = ["NoCri", "NoSandbox", "RuntimeFault"]


class RuntimeFault(ContivError):
    """No whole answer came; the message names the socket, and says what to do."""


class NoCri(RuntimeFault):
    """There is a server, which has no CRI: Docker's containerd, for example."""


class NoSandbox(RuntimeFault):
    """The sandbox that was asked for is not there."""
