# SPDX-License-Identifier: Apache-2.0
"""Make `descriptor.py` from `etcd.proto`; for who changes the latter. Needs grpcio-tools.

What protoc generates otherwise refuses to run with a protobuf that is two major versions newer; a descriptor does not
age, and needs no compiler where the driver is installed.
"""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path

__all__ = ["descriptor", "main"]

FOLDER = Path(__file__).parent
HEAD = '''# SPDX-License-Identifier: Apache-2.0
"""Made from `etcd.proto` by `python -m contivpp_datastore.etcd.generate`: do not edit."""

import base64

__all__ = ["DESCRIPTOR"]

DESCRIPTOR = base64.b64decode(
'''


def descriptor() -> bytes:
    """Return the serialized descriptor of `etcd.proto`."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415
    from grpc_tools import protoc  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        if protoc.main(["protoc", f"-I{FOLDER}", f"--descriptor_set_out={out}", "etcd.proto"]):
            raise SystemExit("etcd.proto cannot be compiled")
        found: bytes = FileDescriptorSet.FromString(out.read_bytes()).file[0].SerializeToString(deterministic=True)
        return found


def main() -> None:
    """Write the module."""
    import base64  # noqa: PLC0415

    lines = textwrap.wrap(base64.b64encode(descriptor()).decode(), 100)
    text = HEAD + "".join(f'    "{line}"\n' for line in lines) + ")\n"
    (FOLDER / "descriptor.py").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
