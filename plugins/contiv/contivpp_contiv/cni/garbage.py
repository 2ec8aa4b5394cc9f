# SPDX-License-Identifier: Apache-2.0
"""Which attachments a runtime still has (CNI specification, "GC")."""

from __future__ import annotations

import msgspec

from contivpp_contiv.cni.codes import ErrorCode
from contivpp_contiv.cni.request import CniRequest
from contivpp_contiv.records import attachment_key
from contivpp_core.errors import RequestError

__all__ = ["valid_attachments"]

_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""The specification's key, and the one that libcni sent before its version 1.2."""


class _Attachment(msgspec.Struct):
    container_id: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


def valid_attachments(request: CniRequest) -> frozenset[str]:
    """Return the keys of attachments that are to stay.

    Without the list nothing may be concluded, so its absence is an error; `null` is how Go writes an empty one.
    """
    key = next((key for key in _KEYS if key in request.config), None)
    if key is None:
        raise RequestError(f"{_KEYS[0]}: missing: without it nothing is removed", code=ErrorCode.INVALID_CONFIG)
    try:
        listed = msgspec.convert(request.config[key], list[_Attachment] | None) or []
    except msgspec.ValidationError as error:
        raise RequestError(f"{key}: {error}", code=ErrorCode.INVALID_CONFIG) from None
    return frozenset(attachment_key(each.container_id, each.interface) for each in listed)
