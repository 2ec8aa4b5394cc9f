# SPDX-License-Identifier: Apache-2.0
"""A certificate authority in a folder, and what it signs. All files are for their owner only."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Pair"]

_DAY = datetime.timedelta(days=1)
_LIFE = datetime.timedelta(days=365)


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A CA; `ca` is its certificate's file. One that is in the folder already is taken over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ca = folder / "ca.pem"
        self._name = _name("contivpp CA")
        key = folder / "ca.key"
        if self.ca.exists():
            found = serialization.load_pem_private_key(key.read_bytes(), None)
            assert isinstance(found, ec.EllipticCurvePrivateKey)
            self._key = found
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        _write(key, _private(self._key))
        _write(self.ca, _pem(builder.sign(self._key, hashes.SHA256())))

    def pair(self, name: str) -> Pair:
        """Return the files of a certificate, whether it was made or not."""
        return Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def issue(
        self,
        name: str,
        *,
        common: str = "",
        groups: Iterable[str] = (),
        addresses: tuple[str, ...] = ("127.0.0.1",),
        hosts: tuple[str, ...] = (),
    ) -> Pair:
        """Make a certificate: its files' name; who it is, and in which groups. Without addresses and hosts it is a
        client's, and no server's.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        alternatives = [*names, *map(x509.DNSName, hosts)]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if alternatives else [])]
        builder = _builder(_name(common or name, groups), self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage(uses), critical=False
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        pair = self.pair(name)
        _write(pair.certificate, _pem(builder.sign(self._key, hashes.SHA256())))
        _write(pair.key, _private(key))
        return pair


def _name(common: str, groups: Iterable[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _LIFE)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
