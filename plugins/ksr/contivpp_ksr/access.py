# SPDX-License-Identifier: Apache-2.0
"""Where the API server is, and as whom it is asked.

In a pod, and with a kubeconfig, the official `kubernetes` package reads the configuration: it knows every form of it,
and renews tokens. It is imported only for that, in a thread, because a credential plugin is a program that may take its
time; nothing else of it is used. Who asks meanwhile waits for the same answer; a program that hangs costs one thread,
and keeps nobody from ending. A server that is named with its files needs none of it.

Tokens and certificates are replaced while this runs (a pod's token lives an hour): files are looked at before each
request, and everything is read again when the server refuses what it was shown (`doubt`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from contivpp_core.errors import ContivError
from contivpp_ksr.config import KsrConfig

__all__ = ["Access", "AccessError", "Credentials", "FileAccess", "OfficialAccess", "access_for"]

log = logging.getLogger(__name__)

RENEW_SECONDS = 60.0
READ_SECONDS = 30.0
"""So long who asks waits for a credential plugin."""

Stamps = tuple[tuple[str, int, int, int] | None, ...]


class AccessError(ContivError):
    """The API server's address or the credentials cannot be read; the message says of which file."""


class Credentials(NamedTuple):
    """What a request needs. `ssl` is the same object until certificates change."""

    server: str
    token: str
    ssl: ssl.SSLContext | bool
    server_name: str | None = None

    def __repr__(self) -> str:  # neither a token nor a password in the URL may reach a log
        return f"Credentials({self.server.rpartition('@')[2]})"


class Access(Protocol):
    """Gives credentials."""

    async def credentials(self) -> Credentials:
        """Return what is valid now; raise AccessError."""

    def doubt(self) -> None:
        """The server refused the credentials: read them again next time."""


def access_for(config: KsrConfig) -> Access:
    """Return the access that a configuration describes."""
    if config.server:
        return FileAccess(
            config.server.rstrip("/"),
            ca=config.ca_file,
            token=config.token_file,
            certificate=config.certificate_file,
            key=config.key_file,
        )
    return OfficialAccess(config.kubeconfig, config.context or None)


class FileAccess:
    """A server that is named, with files for everything else."""

    def __init__(
        self,
        server: str,
        *,
        ca: Path | None = None,
        token: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._server = server
        self._token = token
        self._tls = (ca, certificate, key)
        self._stamps: Stamps | None = None
        self._found: Credentials | None = None

    async def credentials(self) -> Credentials:
        """Return what the files hold; they are read again when they have changed."""
        stamps = _stamps(*self._tls, self._token)
        if self._found is None or stamps != self._stamps:
            self._found = self._read()
            self._stamps = stamps
        return self._found

    def doubt(self) -> None:
        """Read the files again, as new as they look."""
        self._found = None

    def _read(self) -> Credentials:
        token = ""
        if self._token is not None:
            try:
                token = self._token.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise AccessError(f"the token of the API server cannot be read: {error}") from error
        ca, certificate, key = self._tls
        _check(token)
        context = _context(ca, certificate, key) if self._server.startswith("https") else False
        return Credentials(self._server, token, context)


class OfficialAccess:
    """What the official package finds: a pod's service account, or a kubeconfig."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._configuration: Any = None
        self._stamps: Stamps = ()
        self._tls: tuple[Stamps, ssl.SSLContext | bool] | None = None
        self._found: Credentials | None = None
        self._due = 0.0
        self._anew = False
        self._reading: asyncio.Future[Credentials] | None = None

    async def credentials(self) -> Credentials:
        """Return what was found, renewed once a minute if it has to be."""
        found = self._found
        return found if found is not None and time.monotonic() < self._due else await self._renewed()

    def doubt(self) -> None:
        """Read everything anew."""
        self._found, self._anew = None, True

    async def _renewed(self) -> Credentials:
        if (reading := self._reading) is None:
            reading = self._reading = _in_thread(self._read)
            reading.add_done_callback(self._take)
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.shield(reading)
        except AccessError:
            raise
        except TimeoutError as error:
            hint = "look what the credential plugin ('exec') of the user waits for"
            raise AccessError(f"{self._where()}: no credentials within {READ_SECONDS:g} s: {hint}") from error
        except Exception as error:  # the package raises whatever it meets
            cure = "name a kubeconfig that can be read by ksr.kubeconfig, or a server by ksr.server"
            raise AccessError(
                f"{self._where()}: no access to an API server: {type(error).__name__}: {error}: {cure}"
            ) from error

    def _take(self, reading: asyncio.Future[Credentials]) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is None and not self._anew:
            self._found, self._due = reading.result(), time.monotonic() + RENEW_SECONDS

    def _where(self) -> str:
        return str(self._kubeconfig or os.environ.get("KUBECONFIG") or "a pod's service account, or ~/.kube/config")

    def _read(self) -> Credentials:
        anew, self._anew = self._anew, False
        if anew or self._configuration is None or self._stamps != self._files():
            self._configuration = self._load()
            self._stamps = self._files()
        found = self._configuration
        authorization = ""
        for name in ("BearerToken", "authorization"):  # asking renews a token that is about to end
            authorization = authorization or found.get_api_key_with_prefix(name) or ""
        token = authorization.partition(" ")[2].strip() or authorization
        _check(token)
        return Credentials(
            str(found.host).rstrip("/"),
            token,
            self._ssl(found),
            getattr(found, "tls_server_name", None),
        )

    def _load(self) -> Any:
        import kubernetes  # noqa: PLC0415 (half a second and 20 MB, once)

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.INFO)
        config: Any = kubernetes.config
        found = kubernetes.client.Configuration()
        if self._kubeconfig is None:
            try:
                config.load_incluster_config(client_configuration=found)
            except config.ConfigException:
                if os.environ.get("KUBERNETES_SERVICE_HOST"):
                    raise
            else:
                return found
        path = str(self._kubeconfig) if self._kubeconfig else None
        config.load_kube_config(path, context=self._context, client_configuration=found)
        return found

    def _files(self) -> Stamps:
        found = self._configuration
        return _stamps(self._kubeconfig, *(_path(getattr(found, name, None)) for name in _TLS_FILES))

    def _ssl(self, found: Any) -> ssl.SSLContext | bool:
        files = [_path(getattr(found, name, None)) for name in _TLS_FILES]
        stamps = _stamps(*files)
        if self._tls is None or self._tls[0] != stamps:
            context = _context(*files)
            if not found.verify_ssl:
                log.warning("the API server's certificate is not checked: the kubeconfig says so")
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._tls = (stamps, context)
        return self._tls[1]


_TALKATIVE = ("oauthlib", "requests_oauthlib", "urllib3")
"""Loggers of what the official package renews tokens with: at level debug they tell tokens and secrets."""


def _in_thread(work: Callable[[], Credentials]) -> asyncio.Future[Credentials]:
    """Begin work in a thread that nobody waits for at the end of the process, as he would for an executor's."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Credentials] = loop.create_future()

    def settle(result: Credentials | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def run() -> None:
        result: Credentials | Exception
        try:
            result = work()
        except Exception as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="credentials", daemon=True).start()
    return future


_TLS_FILES = ("ssl_ca_cert", "cert_file", "key_file")


def _check(token: str) -> None:
    """Refuse what cannot be a token, before a header is made of it; the text is not told."""
    if not (token.isascii() and token.isprintable()):
        raise AccessError("the token of the API server is none: it has characters, or more lines, that no token has")


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _stamps(*paths: Path | None) -> Stamps:
    """Tell whether files have changed: kubelet replaces a pod's by another link, others write them in place."""
    result: list[tuple[str, int, int, int] | None] = []
    for path in paths:
        try:
            found = path.stat() if path else None
        except OSError:
            found = None
        result.append((str(path), found.st_ino, found.st_mtime_ns, found.st_size) if found else None)
    return tuple(result)


def _context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (ca, certificate, key) if path)
        raise AccessError(f"certificates cannot be read ({files}): {error}") from error
    return context
