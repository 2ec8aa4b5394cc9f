# SPDX-License-Identifier: Apache-2.0
"""The edge to the Linux kernel: one contract (`protocol.py`), the real kernel (`netlink.py`) and one in
memory (`memory.py`).

What is said across it is data: values (`values.py`), operations (`operations.py`), errors (`errors.py`).
"""
