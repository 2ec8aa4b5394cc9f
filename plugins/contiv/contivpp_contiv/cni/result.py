# SPDX-License-Identifier: Apache-2.0
"""What is answered: results in the version that was asked for, and errors (CNI specification, "Result Types")."""

from __future__ import annotations

from typing import Any

import msgspec

from contivpp_contiv import names
from contivpp_contiv.records import LocalPod
from contivpp_core.errors import RequestError

__all__ = ["add_result", "error_result"]


def add_result(pod: LocalPod, version: str) -> bytes:
    """Return the result of ADD: the pod's interface, its address, the default route."""
    address: dict[str, Any] = {"address": f"{pod.address}/32", "gateway": pod.gateway, "interface": 0}
    if version.startswith("0."):
        address["version"] = "4"  # dropped from the result in 1.0.0
    interface: dict[str, Any] = {
        "name": pod.interface,
        "mac": names.pod_mac(pod.container_id, pod.interface),
        "sandbox": pod.netns.path,
    }
    if version == "1.1.0":
        interface["mtu"] = pod.mtu
    return msgspec.json.encode(
        {
            "cniVersion": version,
            "interfaces": [interface],
            "ips": [address],
            "routes": [{"dst": "0.0.0.0/0", "gw": pod.gateway}],
            "dns": {},
        }
    )


def error_result(error: RequestError, version: str) -> bytes:
    """Return the error object."""
    result: dict[str, Any] = {"cniVersion": version, "code": error.code, "msg": str(error)}
    if error.details:
        result["details"] = error.details
    return msgspec.json.encode(result)
