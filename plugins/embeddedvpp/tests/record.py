# SPDX-License-Identifier: Apache-2.0
"""Record dialogues anew: ``CONTIVPP_VPP=…/vpp python tests/record.py dialogues/routes.json …``

The requests of each file are put to a fresh VPP, and its answers replace those in the file.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from dialogue import VETHS, SocketPeer, answers
from realvpp import real_vpp


def record(path: Path) -> None:
    """One file."""
    steps = json.loads(path.read_text())
    with real_vpp(VETHS.get(path.stem, ())) as api_socket:
        peer = SocketPeer(api_socket)
        try:
            found = asyncio.run(answers(peer, [[step["request"], step["fields"]] for step in steps]))
        finally:
            peer.close()
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record(Path(name))
