# SPDX-License-Identifier: Apache-2.0
"""Credentials that change, answers that are packed, and refusals."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from contivpp_core.errors import ContivError
from contivpp_ksr.access import AccessError, FileAccess, OfficialAccess, access_for
from contivpp_ksr.client import ApiClient, ApiFailure, Gone, Unreachable
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.testing import FakeApiServer

from .objects import PLUGIN, kubeconfig_of

NODES = "/api/v1/nodes"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[ApiClient]:
    async with listening(handler) as url:
        client = ApiClient(FileAccess(url))
        yield client
        await client.close()


async def test_a_new_token_is_used_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    async with FakeApiServer().serving() as server:
        server.token = "one"
        client = ApiClient(FileAccess(server.url, token=path))
        await client.get(NODES)
        server.token = "two"
        with pytest.raises(ApiFailure, match="401"):
            await client.get(NODES)
        path.write_text("two")
        await client.get(NODES)
        stamp = path.stat()
        server.token = "six"
        path.write_text("six")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as old and as long as the one before
        await client.get(NODES)
        await client.close()


async def test_files_that_cannot_be_read_are_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="missing"):
        await FileAccess("http://127.0.0.1:1", token=tmp_path / "missing").credentials()
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(AccessError, match="ca"):
        await FileAccess("https://127.0.0.1:1", ca=tmp_path / "ca").credentials()


async def test_a_token_is_in_no_text(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    found = await FileAccess("http://127.0.0.1:1", token=tmp_path / "token").credentials()
    assert found.token == "secret"
    assert "secret" not in f"{found} {found!r}"


async def test_a_file_that_holds_no_token_is_told_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "token"
    async with FakeApiServer().serving() as server:
        client = ApiClient(FileAccess(server.url, token=path))
        for text in ("hunter2\nand: more", "hunter2\0", "hunter2 \u00e9"):
            path.write_text(text)
            with pytest.raises(AccessError, match="token") as told:
                await client.get(NODES)
            assert "hunter2" not in "".join(traceback.format_exception(told.value))
        await client.close()


async def test_an_issuer_s_tokens_are_in_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the official package uses to renew tokens tells them at level debug."""

    async def issuer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"token_endpoint": f"http://{request.host}/token"})
        return web.json_response({"id_token": "hunter2-new", "refresh_token": "hunter2-next", "token_type": "Bearer",
                                  "access_token": "hunter2-access"})  # fmt: skip

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    async with listening(issuer) as url:
        settings = {
            "client-id": "c",
            "client-secret": "hunter2-client",
            "id-token": jwt({"exp": 1}),
            "idp-issuer-url": url,
            "refresh-token": "hunter2-refresh",
        }
        found = {
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {"auth-provider": {"name": "oidc", "config": settings}}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(json.dumps(found))
        assert (await OfficialAccess(tmp_path / "config").credentials()).token == "hunter2-new"
    assert "hunter2" not in caplog.text


def jwt(claims: dict[str, int]) -> str:
    parts = (json.dumps({"alg": "none"}), json.dumps(claims), "s")
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


async def test_a_kubeconfig_is_read_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config"

    def write(token: str) -> None:
        path.write_text(json.dumps(kubeconfig_of({"token": token})))

    write("one")
    access = OfficialAccess(path)
    found = await access.credentials()
    assert (found.server, found.token) == ("http://127.0.0.1:1", "one")
    write("two")
    assert (await access.credentials()).token == "one"  # looked at once a minute
    access.doubt()
    assert (await access.credentials()).token == "two"
    with pytest.raises(AccessError, match=r"missing: no access.* by ksr.kubeconfig"):
        await OfficialAccess(tmp_path / "missing").credentials()


@pytest.mark.parametrize("seconds", [0, 5])
async def test_many_wait_for_one_credential_plugin_and_not_for_ever(
    seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, runs = tmp_path / "config", tmp_path / "runs"
    answer = {**PLUGIN, "kind": "ExecCredential", "status": {"token": "one"}}
    script = f"echo run >> {runs}; sleep {seconds or 0.3}; echo '{json.dumps(answer)}'"
    path.write_text(json.dumps(kubeconfig_of({"exec": {**PLUGIN, "command": "/bin/sh", "args": ["-c", script]}})))
    access = OfficialAccess(path)
    if seconds:
        monkeypatch.setattr("contivpp_ksr.access.READ_SECONDS", 1.5)
    found = await asyncio.gather(*(access.credentials() for _ in range(7)), return_exceptions=True)
    if seconds:
        assert all(isinstance(each, AccessError) and "config: no credentials" in str(each) for each in found), found
        with pytest.raises(AccessError, match="credential plugin"):
            await access.credentials()
    else:
        assert {each.token for each in found if not isinstance(each, BaseException)} == {"one"}
    assert runs.read_text().splitlines() == ["run"]


async def test_an_unreachable_server_and_a_refusal_are_told_apart() -> None:
    client = ApiClient(FileAccess("http://127.0.0.1:1"))
    with pytest.raises(Unreachable, match=r"nodes: .* check that the API server runs"):
        await client.get(NODES)
    await client.close()
    async with FakeApiServer().serving() as server:
        client = ApiClient(FileAccess(server.url))
        server.refuse = [(429, {"Retry-After": "7"}), (410, {}), (500, {"Retry-After": "Wed, 21 Oct 2015"})]
        with pytest.raises(ApiFailure) as found:
            await client.get(NODES)
        assert (found.value.status, found.value.retry_after) == (429, 7.0)
        with pytest.raises(Gone):
            await client.get(NODES)
        with pytest.raises(ApiFailure, match="500 of a test"):
            await client.get(NODES)
        await client.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"not packed", "cannot be unpacked", id="something else"),
        pytest.param(gzip.compress(b"x" * 1000)[:-10], "is cut", id="cut"),
    ],
)
async def test_what_cannot_be_unpacked_is_no_answer(body: bytes, reason: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with answering(handler) as client:
        with pytest.raises(Unreachable, match=reason):
            await client.get(NODES)


@pytest.mark.parametrize("body", [b"x" * 1_000_000, os.urandom(1_000_000)], ids=["at once", "in a thread"])
async def test_a_packed_answer_is_unpacked(body: bytes) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})

    async with answering(handler) as client:
        assert await client.get(NODES) == body


async def test_a_refusal_that_is_no_status_is_told_with_its_text() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=502, text="bad gateway")

    async with answering(handler) as client:
        with pytest.raises(ApiFailure, match="502 bad gateway"):
            await client.get(NODES)


async def test_a_packed_refusal_is_read_and_says_what_to_do() -> None:
    async def handler(request: web.Request) -> web.Response:
        body = gzip.compress(b'{"kind":"Status","message":"nodes is forbidden","reason":"Forbidden","code":403}')
        return web.Response(status=403, body=body, headers={"Content-Encoding": "gzip"})

    async with answering(handler) as client:
        with pytest.raises(ApiFailure, match=r"403 nodes is forbidden: .*deploy/rbac"):
            await client.get(NODES)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        pytest.param({"server": "10.0.0.1"}, "server", id="no URL"),
        pytest.param({"server": "https://a", "kubeconfig": "/x"}, "either 'server'", id="two ways"),
        pytest.param({"server": "https://root:hunter2@a"}, "neither user nor password", id="a password in the URL"),
        pytest.param({"server": "https://a", "tokenFile": "hunter2"}, "absolute path", id="a token for its file"),
        pytest.param({"server": "http://10.0.0.1", "tokenFile": "/x"}, "in the clear", id="a token without TLS"),
        pytest.param({"caFile": "/x"}, "need 'server'", id="files without a server"),
        pytest.param({"server": "https://a", "keyFile": "/x"}, "need each other", id="half a certificate"),
        pytest.param({"healthAddress": "0.0.0.0:9191"}, "no loopback address", id="open to all"),
        pytest.param({"healthAddress": "localhost:9191"}, "for example 127.0.0.1:9191", id="a name"),
        pytest.param({"healthAddress": "9191"}, "ADDRESS:PORT", id="no address"),
    ],
)
def test_faults_of_the_configuration_say_what_to_do(section: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        KsrConfig(**section)


def test_the_configuration_chooses_the_access() -> None:
    assert isinstance(access_for(KsrConfig(server="https://a/")), FileAccess)
    assert isinstance(access_for(KsrConfig()), OfficialAccess)
    assert issubclass(AccessError, ContivError)


async def test_a_token_that_is_refused_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path, token, runs = tmp_path / "config", tmp_path / "token", tmp_path / "runs"
    answer = json.dumps({**PLUGIN, "kind": "ExecCredential", "status": {"token": "TOKEN"}})
    script = f"t=$(cat {token}); echo run >> {runs}; sleep 0.5; echo '{answer}' | sed s/TOKEN/$t/"
    path.write_text(json.dumps(kubeconfig_of({"exec": {**PLUGIN, "command": "/bin/sh", "args": ["-c", script]}})))
    token.write_text("one")
    access = OfficialAccess(path)
    first = asyncio.create_task(access.credentials())
    while not runs.exists():
        await asyncio.sleep(0.01)
    token.write_text("two")
    access.doubt()
    assert (await first).token == "one"
    assert (await access.credentials()).token == "two"


async def test_changes_that_come_fast_are_read_together_and_none_is_lost() -> None:
    lines = [b"%d\n" % number for number in range(200)]

    async def fast(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line)
            await asyncio.sleep(0.0005)
        return response

    async with answering(fast) as client, client.watch(NODES, {}, 5.0) as found:
        blocks = [block async for block in found]
    assert b"".join(blocks) == b"".join(lines)
    assert len(blocks) < len(lines) / 2
