# SPDX-License-Identifier: Apache-2.0
"""The servers of a sandbox as processes: made, started in order, each waited for, restarted, wiped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import yaml

from contivpp_sandbox.rigs.layout import SERVERS_ADDRESS
from contivpp_sandbox.sandbox.directory import Directory
from contivpp_sandbox.sandbox.errors import MachineLacks, SandboxError
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.sandbox.keeper_client import KeeperClient
from contivpp_sandbox.sandbox.node import accepts
from contivpp_sandbox.sandbox.progress import Progress
from contivpp_sandbox.sandbox.teardown import remains
from contivpp_sandbox.servers import programs, shipped
from contivpp_sandbox.servers.api import Api
from contivpp_sandbox.servers.certificates import Authority
from contivpp_sandbox.servers.layout import REFLECTORS, SYSTEM_NAMESPACE, Places, ksr_config, server_names

__all__ = ["Servers"]

_SECONDS = 90.0
_ETCD_SECONDS = 30.0
_POLL_SECONDS = 0.05
_PEERS = {"etcd": 2380, "apiserver-etcd": 2382}
_CLIENTS = {"etcd": 2379, "apiserver-etcd": 2381}


class Servers:
    """The servers that a sandbox has by its `datastore`, each named as in `layout`."""

    def __init__(self, directory: Directory, inventory: Inventory, api: Api, progress: Progress) -> None:
        self.places = Places(directory)
        self.names = server_names(inventory.datastore)
        self._directory, self._inventory, self._api = directory, inventory, api
        self._progress = progress
        self._keeper = KeeperClient(directory)

    # --- life

    @staticmethod
    def check(datastore: str) -> None:
        """Raise MachineLacks where a program is missing."""
        if datastore == "embedded":
            return
        for executable, missing in (
            (programs.etcd_executable(), programs.NO_ETCD),
            (programs.apiserver_executable(), programs.NO_APISERVER),
        ):
            if not executable:
                raise MachineLacks(missing)
        shipped.check()

    async def start(self) -> None:
        """Make certificates, and start everything."""
        await asyncio.to_thread(self._certificates)
        (self.places.folder / "apiserver").mkdir(mode=0o700)
        first = [name for name in self.names if name not in REFLECTORS]
        with self._progress.step("etcd and kube-apiserver") as step:
            await self.run(*first)
            step.detail = f"at {SERVERS_ADDRESS}, for nodes only; from outside by {self.places.api_socket}"
        await shipped.install(self._api)
        if reflectors := [name for name in self.names if name in REFLECTORS]:
            with self._progress.step("contivpp ksr") as step:
                await self.run(*reflectors)
                step.detail = f"{len(reflectors)} of them: one writes"

    async def run(self, *names: str) -> None:
        """Start servers, all at once, and wait until each serves; what runs already is left alone."""
        for name in names:
            await self.launch(name)
        results = await asyncio.gather(*map(self._until_serves, names), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def stop(self, *names: str, kill: bool = False) -> None:
        """End servers."""
        await self._keeper.end(*map(_process, names), kill=kill)

    async def wipe(self, name: str) -> None:
        """Remove what an etcd that was stopped has stored."""
        await asyncio.to_thread(shutil.rmtree, self.places.data(name), ignore_errors=True)

    def meant(self, what: str) -> tuple[str, ...]:
        """Return which servers a person means: `datastore` is where agents read, `ksr` both of them."""
        by_word = {
            "datastore": ("etcd" if "etcd" in self.names else "apiserver-etcd",),
            "etcd": ("etcd" if "etcd" in self.names else "apiserver-etcd",),
            "ksr": REFLECTORS,
        }
        found = by_word.get(what, (what,))
        if not set(found) <= set(self.names):
            raise SandboxError(f"there is no {what} with --datastore {self._inventory.datastore}")
        return found

    async def admit(self, nodes: Iterable[str]) -> None:
        """Make what agents of nodes are known by: certificates, and users of etcd."""
        if "etcd" not in self.names:
            return
        names = list(nodes)
        await self._users(names, enable=False)  # a node whose name is not for agents gets no certificate
        authority = await asyncio.to_thread(Authority, self.places.pki_of("etcd"))
        for name in names:
            authority.issue(f"client-{name}", common=name, addresses=())

    # --- one server

    async def launch(self, name: str) -> None:
        """Start a server that does not run, and wait for nothing."""
        found = (await self._keeper.processes()).get(_process(name))
        if found is None or found["code"] is not None:
            if name in REFLECTORS:
                with contextlib.suppress(OSError):
                    os.unlink(self.places.socket(name))
            await self._keeper.start(_process(name), self._command(name), log=name)

    def _command(self, name: str) -> list[str]:
        places = self.places
        if name in REFLECTORS:
            config = places.folder / f"{name}.yaml"
            config.write_text(yaml.safe_dump(ksr_config(self._directory, name)), "utf-8")
            return [sys.executable, "-m", "contivpp_core.cli", "ksr", "--config", str(config)]
        if name == "forwarder":
            module, admin = "contivpp_sandbox.servers.forwarder", places.pair("api-admin")
            words = [places.api_socket, f"{SERVERS_ADDRESS}:{places.api_port}", str(places.ca), *map(str, admin)]
            return [sys.executable, "-m", module, *words]
        if name == "apiserver":
            return self._apiserver()
        urls = [f"https://{SERVERS_ADDRESS}:{ports[name]}" for ports in (_CLIENTS, _PEERS)]
        ca, pair = places.trust(name, "server")
        return programs.etcd_command(places.data(name), client=urls[0], peer=urls[1], ca=ca, pair=pair, one_ca=True)

    def _apiserver(self) -> list[str]:
        places = self.places
        ca, client = places.trust("apiserver-etcd", "client-apiserver")
        settings = {
            "etcd-servers": f"https://{SERVERS_ADDRESS}:{_CLIENTS['apiserver-etcd']}",
            "etcd-cafile": ca,
            "etcd-certfile": client.certificate,
            "etcd-keyfile": client.key,
            "anonymous-auth": "false",
            "service-cluster-ip-range": self._inventory.subnets().service,
        }
        return programs.apiserver_command(
            places.data("apiserver"),
            address=SERVERS_ADDRESS,
            port=places.api_port,
            ca=places.ca,
            server=places.pair("server"),
            accounts=places.pair("accounts"),
            settings=settings,
        )

    async def _until_serves(self, name: str) -> None:
        if name == "etcd":
            await self._until_users()
        elif name in REFLECTORS:
            await self._until(name, lambda: _true_if(accepts(str(self.places.socket(name)))))
        elif name == "apiserver" or (name == "apiserver-etcd" and "apiserver" in await self._running()):
            await self._until(name, self._api_ready)

    async def _running(self) -> set[str]:
        processes = await self._keeper.processes()
        return {name for name in self.names if processes.get(_process(name), {}).get("code", 0) is None}

    async def _api_ready(self) -> bool:
        try:
            return (await self._api.call("GET", "/readyz"))[0] == 200
        except SandboxError:
            return False

    async def _until(self, name: str, condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        end = asyncio.get_running_loop().time() + _SECONDS
        while not await condition():
            await self._check(name)
            if asyncio.get_running_loop().time() > end:
                raise SandboxError(f"{name} does not serve within {_SECONDS:g} s{self._last_words(name)}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _check(self, name: str) -> None:
        """Raise an error if a server has ended."""
        code = (await self._keeper.processes()).get(_process(name), {}).get("code", 0)
        if code is not None:
            raise SandboxError(f"{name} ended with exit code {code}{self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        return f"; the end of {self._directory.log(name)}:\n{self._directory.log_end(name)}"

    # --- users of etcd

    async def _until_users(self) -> None:
        """Wait until etcd serves, and everybody has their rights: it may have been wiped."""
        try:
            await self._users([place.name for place in self._inventory.members], enable=True)
        except SandboxError as error:
            await self._check("etcd")
            raise SandboxError(f"{error}{self._last_words('etcd')}") from error

    async def _users(self, agents: list[str], *, enable: bool) -> None:
        ca, root = self.places.trust("etcd", "client-root")
        request = {
            "endpoint": self.places.etcd,
            "ca": str(ca),
            "certificate": str(root.certificate),
            "key": str(root.key),
            "seconds": _ETCD_SECONDS,
            "enable": enable,
            "agents": agents,
            "reflectors": ["ksr"] if enable else [],
        }
        keeper = remains(self._directory).keeper
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "contivpp_sandbox.servers.users", str(keeper.pid if keeper else 0),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_ETCD_SECONDS + 15):
                output, errors = await process.communicate(json.dumps(request).encode())
        except TimeoutError:
            raise SandboxError("etcd gives nobody their rights in time") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            answer: Mapping[str, Any] = json.loads(output)
        except ValueError:
            answer = {"error": errors.decode("utf-8", "replace").strip()[-500:]}
        if "error" in answer:
            raise SandboxError(f"etcd: users cannot be made: {answer['error']}")

    # --- certificates

    def _certificates(self) -> None:
        """Make the CAs and all certificates but those of agents for etcd."""
        authority = Authority(self.places.pki)
        authority.issue("server", addresses=(SERVERS_ADDRESS,), hosts=("kubernetes.default.svc",))
        authority.issue("accounts", addresses=())
        authority.issue("api-admin", common="admin", groups=("system:masters",), addresses=())
        for name in ("agent", "ksr"):
            account = f"system:serviceaccount:{SYSTEM_NAMESPACE}:contivpp-{name}"
            authority.issue(f"api-{name}", common=account, addresses=())
        for etcd, users in (("etcd", ("root", "ksr")), ("apiserver-etcd", ("apiserver",))):
            if etcd in self.names:
                authority = Authority(self.places.pki_of(etcd))
                authority.issue("server", addresses=(SERVERS_ADDRESS,))
                for name in users:
                    authority.issue(f"client-{name}", common=name, addresses=())
        self._kubeconfig()

    def _kubeconfig(self) -> None:
        admin = self.places.pair("api-admin")
        user = {"client-certificate": str(admin.certificate), "client-key": str(admin.key)}
        cluster = {"server": self.places.api, "certificate-authority": str(self.places.ca)}
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "admin"}}],
            "current-context": "sandbox",
        }
        self.places.kubeconfig.write_text(yaml.safe_dump(found), "utf-8")
        self.places.kubeconfig.chmod(0o600)

    # --- how they stand

    async def standing(self) -> dict[str, str]:
        """Tell of each server how it stands."""
        running = await self._running()
        found = {name: "runs" if name in running else "does not run" for name in self.names}
        if "apiserver" in running and not await self._api_ready():
            found["apiserver"] = "runs, and is not ready"
        return found


def _process(name: str) -> str:
    """Return what the keeper calls a server; these end after agents and pods."""
    return f"server:{name}"


async def _true_if(value: bool) -> bool:
    return value
