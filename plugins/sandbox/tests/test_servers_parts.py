# SPDX-License-Identifier: Apache-2.0
"""Parts of a sandbox with real servers that need none: objects, agreement, certificates, the forwarder."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.cli import main
from contivpp_core.kubernetes import POD, EndpointSlice, decode
from contivpp_core.kubernetes_encode import encode
from contivpp_sandbox.sandbox.inventory import Inventory
from contivpp_sandbox.servers.agreement import disagreements, records_of
from contivpp_sandbox.servers.api import Api, ApiRefused, list_path, object_path
from contivpp_sandbox.servers.certificates import Authority
from contivpp_sandbox.servers.completion import submitted
from contivpp_sandbox.servers.endpoints import MANAGED_BY, slices_of
from contivpp_sandbox.servers.forwarder import Forwarder
from contivpp_sandbox.servers.layout import server_names

NAMES = st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), NAMES)


@st.composite
def pods(draw: st.DrawFn) -> list[dict[str, Any]]:
    keys = draw(st.lists(st.tuples(NAMES, NAMES), unique=True))
    return [
        {
            "kind": "Pod",
            "metadata": {"namespace": space, "name": name, "labels": draw(LABELS)},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": f"10.1.1.{number + 2}"} if draw(st.booleans()) else {},
        }
        for number, (space, name) in enumerate(keys)
    ]


def service(space: str, selector: dict[str, str], target: int | str = "http") -> dict[str, Any]:
    ports = [{"name": "p", "port": 80, "targetPort": target}]
    return {"metadata": {"namespace": space, "name": "s"}, "spec": {"selector": selector, "ports": ports}}


@given(pods(), NAMES, st.dictionaries(st.sampled_from(["app", "tier"]), NAMES, min_size=1))
def test_a_service_has_the_pods_that_it_selects_and_no_others(
    found: list[dict[str, Any]], space: str, selector: dict[str, str]
) -> None:
    (slice_,) = slices_of([service(space, selector)], found, [])
    record = decode(EndpointSlice, slice_)
    assert record.service == "s"
    wanted = {
        pod["metadata"]["name"]
        for pod in found
        if pod["metadata"]["namespace"] == space
        and pod["status"]
        and selector.items() <= pod["metadata"]["labels"].items()
    }
    assert {each["targetRef"]["name"] for each in slice_["endpoints"]} == wanted
    assert [each["port"] for each in slice_["ports"]] == ([8080] if wanted else [])
    assert encode(record)


def test_endpoints_are_ready_as_their_pods_are() -> None:
    pod: dict[str, Any] = {
        "metadata": {"namespace": "x", "name": "a", "labels": {"app": "a"}},
        "spec": {"containers": [{}]},
        "status": {"podIP": "10.1.1.2", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    (slice_,) = slices_of([service("x", {"app": "a"}, 81)], [pod], [])
    assert slice_["endpoints"][0]["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert slice_["ports"][0]["port"] == 81
    pod["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    (slice_,) = slices_of([service("x", {"app": "a"})], [pod], [])
    assert slice_["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


@pytest.mark.parametrize(("manager", "made"), [("somebody", 0), (MANAGED_BY, 1)])
def test_a_service_that_has_slices_of_others_gets_none(manager: str, made: int) -> None:
    labels = {"kubernetes.io/service-name": "s", "endpointslice.kubernetes.io/managed-by": manager}
    given_one = {"metadata": {"namespace": "x", "name": "mine", "labels": labels}}
    assert len(slices_of([service("x", {"app": "a"})], [], [given_one])) == made
    assert slices_of([{**service("x", {}), "spec": {"ports": []}}], [], []) == []


def test_what_files_leave_out_is_filled_in_and_what_is_the_servers_is_left_out() -> None:
    metadata = {"namespace": "x", "name": "a", "uid": "u", "resourceVersion": "5", "managedFields": []}
    found = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}
    shown = submitted(found)
    assert shown["apiVersion"] == "v1"
    assert shown["metadata"] == {"namespace": "x", "name": "a"}
    assert "status" not in shown
    assert shown["spec"]["containers"] == [{"name": "c0", "image": "sandbox"}]
    assert metadata["uid"] == "u"
    assert submitted({"kind": "NetworkPolicy", "metadata": {"name": "p"}})["apiVersion"] == "networking.k8s.io/v1"
    named = {"containers": [{"name": "web", "image": "nginx", "ports": []}]}
    assert submitted({**found, "spec": named})["spec"]["containers"] == named["containers"]


def test_paths_of_objects() -> None:
    assert object_path("Node", "", "n1") == "/api/v1/nodes/n1"
    assert object_path("NetworkPolicy", "x", "p") == "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies/p"
    assert list_path("EndpointSlice") == "/apis/discovery.k8s.io/v1/endpointslices"


def test_disagreements_name_node_kind_and_key() -> None:
    pod = {"kind": "Pod", "metadata": {"namespace": "x", "name": "a", "uid": "u"}, "spec": {"nodeName": "n1"}}
    wanted = {"Pod": records_of("Pod", [pod, {"metadata": {"name": "of no namespace"}}])}
    assert list(wanted["Pod"]) == ["x/a"]
    rows = {name: {"name": name, "node_id": number, "vpp_addresses": []} for number, name in enumerate(("n1", "n2"), 1)}
    good = {name: {"Pod": wanted["Pod"], "ClusterNode": rows, "OwnNode": {name: rows[name]}} for name in rows}
    ids = {"n1": 1, "n2": 2}
    assert disagreements(wanted, good, ids) == []
    (line,) = disagreements(wanted, {**good, "n2": {**good["n2"], POD.name: {}}}, ids)
    assert line == "n2 does not know as the API server has it: Pod x/a"
    lines = disagreements(wanted, {**good, "n1": {**good["n1"], "ClusterNode": {"n1": rows["n1"]}}}, ids)
    assert lines == ["n1 knows the nodes {'n1': 1}, and not {'n1': 1, 'n2': 2}", "n1 and n2 know different nodes: n2"]
    lines = disagreements(wanted, {**good, "n2": {**good["n2"], "OwnNode": {}}}, ids)
    assert lines[0].startswith("n2 is not published as it is")


def test_nodes_keep_their_ids_with_real_servers_only() -> None:
    for datastore, wanted in (("embedded", [1, 2, 1, 2]), ("etcd", [1, 2, 3, 1])):
        inventory = Inventory("embedded", datastore=datastore)  # type: ignore[arg-type]
        found = [inventory.join(name).node_id for name in ("a", "b")]
        inventory.nodes["a"].node_id = 0
        found.append(inventory.join("c").node_id)
        if datastore == "embedded":
            inventory.nodes["b"].node_id = 0
        found.append(inventory.join("a").node_id)
        assert found == wanted
    assert server_names("embedded") == ()


def test_certificates_are_their_owners_and_an_authority_goes_on(tmp_path: Path) -> None:
    first = Authority(tmp_path / "pki")
    first.issue("one", groups=("system:masters",), common="admin")
    again = Authority(tmp_path / "pki")
    pair = again.issue("two", addresses=("10.200.0.254",))
    context = ssl.create_default_context(cafile=again.ca)
    for name in ("one", "two"):
        context.load_cert_chain(*first.pair(name))
    assert pair == first.pair("two")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()} == {0o600}


def test_a_client_s_certificate_is_no_server_s(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    client, server = authority.issue("client", common="10.0.0.1", addresses=()), authority.issue("server")
    for pair, serves in ((client, False), (server, True)):
        found = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).extensions
        uses = found.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.CLIENT_AUTH in uses
        assert (ExtendedKeyUsageOID.SERVER_AUTH in uses) is serves


async def test_the_forwarder_passes_requests_on_as_the_certificates_owner(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    server, client = authority.issue("server"), authority.issue("client", common="admin", addresses=())
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = writer.get_extra_info("peercert")["subject"]
        seen.append(dict(each[0] for each in subject)["commonName"])
        request = await reader.readuntil(b"\r\n\r\n")
        status = b"403 Forbidden" if request.startswith(b"DELETE") else b"200 OK"
        body = b'{"message": "told"}'
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    inside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    inside.verify_mode = ssl.CERT_REQUIRED
    inside.load_cert_chain(*server)
    outside = ssl.create_default_context(cafile=authority.ca)
    outside.load_cert_chain(*client)
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=inside)
    port = listening.sockets[0].getsockname()[1]
    path = str(tmp_path / "api.sock")
    task = asyncio.create_task(Forwarder("127.0.0.1", port, outside).serve(path))
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    api = Api.over(path)
    try:
        assert await api.get("/x") == {"message": "told"}
        assert seen == ["admin"]
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        with pytest.raises(ApiRefused, match="the API server refuses DELETE /x: 403: told"):
            await api.delete("/x")
        listening.close()
        with pytest.raises(Exception, match="the API server does not answer"):
            await api.get("/x")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


def test_real_servers_need_a_rig_of_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("nodes: [n1]\nsteps: []\n")
    assert main(["scenario", str(file), "--datastore", "etcd"]) == 2
    assert "real servers need --on sandbox" in capsys.readouterr().err
