# SPDX-License-Identifier: Apache-2.0
"""Scenario files: what they say (`model`, `reading`), running them (`runner`), and telling what came out (`report`)."""
