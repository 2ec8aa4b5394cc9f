# SPDX-License-Identifier: Apache-2.0
"""The section `datastore`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from contivpp_core.config import Section

__all__ = ["DatastoreConfig"]


class DatastoreConfig(Section):
    """Which store the cluster has, and where it is."""

    driver: Literal["embedded"] = "embedded"
    socket: Path = Path("/run/contivpp/store.sock")
    """The socket of the embedded store's server."""
