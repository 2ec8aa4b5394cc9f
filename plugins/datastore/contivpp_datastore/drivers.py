# SPDX-License-Identifier: Apache-2.0
"""The store that the configuration names. A driver is imported only when it is configured: grpc is large."""

from __future__ import annotations

import logging
from typing import Protocol

from contivpp_core.kvstore import KVStore
from contivpp_datastore.config import DatastoreConfig
from contivpp_datastore.endpoints import is_private

__all__ = ["OwnStore", "open_store"]


log = logging.getLogger(__name__)


class OwnStore(KVStore, Protocol):
    """A store that its opener closes."""

    async def close(self) -> None:
        """Close connections."""


def open_store(config: DatastoreConfig) -> OwnStore | None:
    """Return the configured store, not connected yet; None for driver `none`."""
    if config.driver == "none":
        return None
    if config.driver == "embedded":
        from contivpp_datastore.embedded.client import EmbeddedStore  # noqa: PLC0415

        return EmbeddedStore(config.socket)
    from contivpp_datastore.etcd.client import EtcdStore  # noqa: PLC0415
    from contivpp_datastore.etcd.options import EtcdOptions  # noqa: PLC0415

    if not all(map(is_private, config.endpoints)):
        log.warning("etcd is asked without TLS: whoever is on the way may read and change all of it", extra={
            "endpoints": ", ".join(config.endpoints)})  # fmt: skip
    options = EtcdOptions(
        endpoints=config.endpoints,
        ca=config.ca,
        certificate=config.certificate,
        key=config.key,
        user=config.user,
        password_file=config.password_file,
    )
    return EtcdStore(options)
