# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of whole paths, each as a ratio to a reference that runs in the same minutes on the same machine.

A number of milliseconds says more about the machine than about the code; a ratio to something well known, measured
in turns with it, can be compared between machines and over years. `python -m tests.bench` runs them; what was
measured when is in `docs/performance.md`.
"""
