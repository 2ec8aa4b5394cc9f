# SPDX-License-Identifier: Apache-2.0
"""The messages of the CRI that are used here (k8s.io/cri-api, `runtime/v1/api.proto`), with the fields that are.

They are few, so their descriptor is built here, from fields as `number name type`; `*` is a repeated field. What the
runtime sends besides is passed over. Imports protobuf.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["SERVICE", "message"]

SERVICE = "/runtime.v1.RuntimeService/"
_PACKAGE = "contivpp.cri"
_FIELDS = {
    "VersionRequest": "1 version string",
    "VersionResponse": "2 runtime_name string, 3 runtime_version string",
    "PodSandboxMetadata": "1 name string, 3 namespace string",
    "PodSandbox": "1 id string, 2 metadata PodSandboxMetadata, 3 state int32",
    "ListPodSandboxRequest": "",
    "ListPodSandboxResponse": "1 items *PodSandbox",
    "PodSandboxStatusRequest": "1 pod_sandbox_id string",
    "PodIP": "1 ip string",
    "PodSandboxNetworkStatus": "1 ip string, 2 additional_ips *PodIP",
    "NamespaceOption": "1 network int32",
    "Namespace": "2 options NamespaceOption",
    "LinuxPodSandboxStatus": "1 namespaces Namespace",
    "PodSandboxStatus": "1 id string, 3 state int32, 5 network PodSandboxNetworkStatus, 6 linux LinuxPodSandboxStatus",
    "PodSandboxStatusResponse": "1 status PodSandboxStatus",
}
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _Field.TYPE_STRING, "int32": _Field.TYPE_INT32}  # an enumeration looks as an int32 on the wire


def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=_PACKAGE, syntax="proto3")
    for name, text in _FIELDS.items():
        made = file.message_type.add(name=name)
        for field in filter(None, text.split(", ")):
            number, title, kind = field.split()
            label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            scalar = _TYPES.get(kind)
            types = {"type": scalar} if scalar else {"type_name": f".{_PACKAGE}.{kind}"}
            made.field.add(name=title, number=int(number), label=label, **types)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def message(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
