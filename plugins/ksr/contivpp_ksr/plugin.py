# SPDX-License-Identifier: Apache-2.0
"""The plugin ksr."""

from __future__ import annotations

from typing import ClassVar

from contivpp_core.plugin import Plugin


class KsrPlugin(Plugin):
    """The plugin."""

    name: ClassVar[str] = "ksr"


def plugin() -> KsrPlugin:
    """Return the plugin; its entry point calls this."""
    return KsrPlugin()
