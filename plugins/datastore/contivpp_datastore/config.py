# SPDX-License-Identifier: Apache-2.0
"""The section `datastore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from contivpp_core.config import Section
from contivpp_datastore.endpoints import endpoint_fault, is_private

__all__ = ["DatastoreConfig"]


def _endpoint(value: str) -> str:
    if fault := endpoint_fault(value):
        raise ValueError(fault)
    return value


def _absolute(value: Path | None) -> Path | None:
    if value is not None and not value.is_absolute():
        raise ValueError("must be the absolute path of a file")
    return value


File = Annotated[Path | None, AfterValidator(_absolute)]


class DatastoreConfig(Section):
    """Which store the cluster has, and where it is."""

    driver: Literal["embedded", "etcd", "none"] = "embedded"
    """`none`: there is no store; other plugins fill the tables, and the local mirror remembers them."""
    socket: Path = Path("/run/contivpp/store.sock")
    """The socket of the embedded store's server."""
    endpoints: tuple[Annotated[str, AfterValidator(_endpoint)], ...] = ()
    """etcd's URLs, all with the same scheme."""
    ca: File = None
    """The CA that signed etcd's certificate."""
    certificate: File = None
    """This client's certificate, for mutual TLS."""
    key: File = None
    user: str = ""
    password_file: File = None
    """Holds the password of `user`; it is read at each login."""
    reflected: bool | None = None
    """Whether the reflector (`contivpp ksr`) fills the store: then nothing counts as complete without its marker. By
    default so with etcd."""
    local_mirror: bool = True
    """Whether what the sources tell is remembered in the state folder."""
    source_wait_seconds: float = Field(default=2.0, ge=0, le=60, allow_inf_nan=False)
    """A source that has not delivered so long after the start is late: the local mirror fills its tables."""

    @property
    def is_reflected(self) -> bool:
        """Tell whether completeness is the reflector's word."""
        return self.driver == "etcd" if self.reflected is None else self.reflected

    @field_validator("endpoints")
    @classmethod
    def _endpoints(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        driver = info.data.get("driver")
        if driver == "etcd" and not value:
            raise ValueError("must name at least one URL of etcd, for example [https://10.0.0.1:2379]")
        if value and driver in ("embedded", "none"):
            raise ValueError(f"is for driver etcd, not {driver}: set driver, or remove it")
        if len({urlsplit(each).scheme for each in value}) > 1:
            raise ValueError("must be all http or all https")
        return value

    @field_validator("ca", "certificate", "key")
    @classmethod
    def _of_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        endpoints = info.data.get("endpoints")
        if value is not None and endpoints is not None and not _scheme(endpoints, "https"):
            raise ValueError("is for endpoints with https: change these, or remove it")
        if info.field_name == "key" and (value is None) != (info.data.get("certificate") is None):
            raise ValueError("certificate and key go together: set both, or neither")
        return value

    @field_validator("user")
    @classmethod
    def _user(cls, value: str, info: ValidationInfo) -> str:
        endpoints = info.data.get("endpoints")
        if not value or endpoints is None:
            return value
        if not endpoints:
            raise ValueError("is for driver etcd: name its endpoints, or remove it")
        if not all(map(is_private, endpoints)):
            raise ValueError("the password would cross the network in the clear: use endpoints with https")
        return value

    @field_validator("password_file")
    @classmethod
    def _password_file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        user = info.data.get("user")
        if user is not None and bool(user) != (value is not None):
            raise ValueError("user and passwordFile go together: set both, or neither")
        return value


def _scheme(endpoints: tuple[str, ...], scheme: str) -> bool:
    return any(urlsplit(each).scheme == scheme for each in endpoints)
