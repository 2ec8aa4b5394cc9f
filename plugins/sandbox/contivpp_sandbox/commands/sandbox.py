# SPDX-License-Identifier: Apache-2.0
"""`contivpp sandbox`: nodes on this machine, with pods that talk. What the commands do is in `sandbox.actions`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from contivpp_core.cli.command import Command

if TYPE_CHECKING:
    from contivpp_sandbox.sandbox.directory import Directory
    from contivpp_sandbox.sandbox.vpp import Dataplane

__all__ = ["SANDBOX"]

MOST_DEMO_PODS = 16
MOST_NODES = 64

# Each command imports what it needs when it runs: a command line that is only read should cost nothing.


def _up(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import run_until_done, up  # noqa: PLC0415

    work = up(
        _directory(arguments),
        nodes=arguments.nodes,
        dataplane=_dataplane(arguments),
        config=arguments.config,
        mtu=arguments.mtu,
        datastore=arguments.datastore,
    )
    return run_until_done(work)


def _apply(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import apply, run_until_done  # noqa: PLC0415

    return run_until_done(apply(_directory(arguments), file=arguments.file))


def _delete(arguments: argparse.Namespace) -> int:
    from contivpp_core.errors import ConfigError  # noqa: PLC0415
    from contivpp_sandbox.sandbox.actions import delete, run_until_done  # noqa: PLC0415

    if not arguments.file and not arguments.pods:
        raise ConfigError(["contivpp sandbox delete: name pods, or a file by -f"])
    return run_until_done(delete(_directory(arguments), file=arguments.file, pods=arguments.pods))


def _exec(arguments: argparse.Namespace) -> int:
    from contivpp_core.errors import ConfigError  # noqa: PLC0415
    from contivpp_sandbox.sandbox.actions import pod_named  # noqa: PLC0415
    from contivpp_sandbox.sandbox.cluster import Cluster  # noqa: PLC0415
    from contivpp_sandbox.sandbox.execute import execute  # noqa: PLC0415

    words = list(arguments.words)
    name = "" if arguments.node or not words else words.pop(0)
    if words[:1] == ["--"]:
        words.pop(0)
    if not words or not (name or arguments.node):
        raise ConfigError(["contivpp sandbox exec: give a pod and a command: exec POD -- COMMAND"])
    directory = _directory(arguments)
    cluster = Cluster.load(directory)
    if arguments.node:
        execute(directory, cluster.inventory.member(arguments.node).name, words)
    execute(directory, pod_named(cluster.pods, name), words)


def _matrix(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import matrix, run_until_done  # noqa: PLC0415

    work = matrix(_directory(arguments), output=arguments.output, attempts=arguments.attempts)
    return run_until_done(work)


def _restart(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import restart, run_until_done  # noqa: PLC0415

    work = restart(
        _directory(arguments), what=arguments.what, node=arguments.node, kill=arguments.kill, wipe=arguments.wipe
    )
    return run_until_done(work)


def _break(arguments: argparse.Namespace) -> int:
    from contivpp_core.errors import ConfigError  # noqa: PLC0415
    from contivpp_sandbox.sandbox.actions import break_off, run_until_done  # noqa: PLC0415

    if not arguments.nodes and not arguments.heal:
        raise ConfigError(["contivpp sandbox break: name nodes"])
    work = break_off(_directory(arguments), nodes=arguments.nodes, loss=arguments.loss, heal=arguments.heal)
    return run_until_done(work)


def _status(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import run_until_done, status  # noqa: PLC0415

    return run_until_done(status(_directory(arguments), output=arguments.output))


def _down(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import down, run_until_done  # noqa: PLC0415

    return run_until_done(down(_directory(arguments)))


def _demo(arguments: argparse.Namespace) -> int:
    from contivpp_sandbox.sandbox.actions import run_until_done  # noqa: PLC0415
    from contivpp_sandbox.sandbox.demo import demo  # noqa: PLC0415

    work = demo(
        _directory(arguments),
        nodes=arguments.nodes,
        pods=arguments.pods,
        dataplane=_dataplane(arguments),
        mtu=arguments.mtu,
        datastore=arguments.datastore,
    )
    return run_until_done(work)


def _directory(arguments: argparse.Namespace) -> Directory:
    from contivpp_sandbox.sandbox.directory import Directory, default_base  # noqa: PLC0415

    return Directory(arguments.dir or default_base(), arguments.name)


def _dataplane(arguments: argparse.Namespace) -> Dataplane:
    from contivpp_sandbox.sandbox.vpp import default_dataplane  # noqa: PLC0415

    chosen: Dataplane | None = arguments.dataplane
    return chosen or default_dataplane()


# --- the command line


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    _dataplane_argument(parser)
    _cluster_arguments(parser, nodes=1)
    parser.add_argument("--config", metavar="FILE", help="settings for every agent, YAML")


def _cluster_arguments(parser: argparse.ArgumentParser, *, nodes: int) -> None:
    parser.add_argument(
        "--nodes", type=_number(1, MOST_NODES), default=nodes, metavar="N", help="how many nodes (%(default)s)"
    )
    parser.add_argument(
        "--mtu",
        type=_number(576, 9216),
        default=1500,
        metavar="BYTES",
        help="the largest IP packet of the network between them (%(default)s)",
    )
    datastore_argument(parser)


def datastore_argument(parser: argparse.ArgumentParser) -> None:
    """Add the choice of what the cluster's state is kept in."""
    parser.add_argument(
        "--datastore",
        choices=("embedded", "etcd", "kubernetes"),
        default="embedded",
        help="embedded: a store of our own (the default); etcd: kube-apiserver, contivpp ksr and etcd; kubernetes: "
        "agents watch kube-apiserver themselves",
    )


def _dataplane_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataplane",
        choices=("embedded", "vpp"),
        help="the embedded VPP, or the real one that CONTIVPP_VPP names (default: the real one if it names one)",
    )


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="Kubernetes YAML; - is stdin")


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pods", nargs="*", metavar="POD", help="namespace/pod, or pod in the namespace default")
    parser.add_argument("-f", "--file", metavar="FILE", help="Kubernetes YAML: delete what it names; - is stdin")


def _exec_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", metavar="NODE", help="in this node's namespaces; then give no POD")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="POD -- COMMAND", help="the pod, and the command")


def _restart_arguments(parser: argparse.ArgumentParser) -> None:
    servers = ("datastore", "etcd", "apiserver", "apiserver-etcd", "ksr")
    parser.add_argument(
        "what", choices=("agent", "vpp", *servers), help="which process; datastore: what agents get their state from"
    )
    parser.add_argument("--node", metavar="NODE", help="on this node (default: on all, one after the other)")
    parser.add_argument("--kill", action="store_true", help="kill -9, instead of asking it to end")
    parser.add_argument("--wipe", action="store_true", help="an etcd is killed, and starts without all that it had")


def _output_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="(%(default)s)")


def _matrix_arguments(parser: argparse.ArgumentParser) -> None:
    _output_argument(parser)
    parser.add_argument(
        "--attempts", type=_number(1, 10), default=2, metavar="N", help="tries, one second apart (%(default)s)"
    )


def _break_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="which nodes; with --heal, none means all")
    parser.add_argument(
        "--loss",
        type=_number(1, 100),
        default=100,
        metavar="PERCENT",
        help="how many of the packets to the node are lost (%(default)s: its link is down)",
    )
    parser.add_argument("--heal", action="store_true", help="undo it")


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    _dataplane_argument(parser)
    _cluster_arguments(parser, nodes=2)
    parser.add_argument(
        "--pods", type=_number(2, MOST_DEMO_PODS), default=4, metavar="N", help="how many pods (%(default)s)"
    )


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _number(smallest: int, largest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"{text}: give a number from {smallest} to {largest}")
        return int(text)

    return number


COMMANDS = (
    Command(
        "up",
        "bring nodes up: namespaces, a network between them, the cluster's store, and in each VPP, agent and CNI",
        _up,
        _up_arguments,
        (
            ("contivpp sandbox up", "as root, or as an ordinary user (by user namespaces)"),
            ("contivpp sandbox up --nodes 3 --mtu 1600", "three nodes, and how large packets between them may be"),
            ("contivpp sandbox up --name two", "a second sandbox beside it"),
            ("contivpp sandbox up --nodes 3 --datastore etcd", "with real servers: kube-apiserver, ksr, etcd"),
            ("CONTIVPP_VPP=/usr/bin/vpp contivpp sandbox up", "with a real VPP"),
        ),
    ),
    Command(
        "apply",
        "create or change objects: pods, namespaces, nodes, NodeConfigs; what is no longer in the file is removed",
        _apply,
        _apply_arguments,
        (
            ("contivpp sandbox apply -f pods.yaml", "each pod is connected by CNI ADD, on the node that it names"),
            ("kubectl get pods -o yaml | contivpp sandbox apply -f -", "from stdin"),
        ),
    ),
    Command(
        "delete",
        "delete objects; a node that is deleted leaves, with its pods",
        _delete,
        _delete_arguments,
        (
            ("contivpp sandbox delete a", "the pod default/a, disconnected by CNI DEL"),
            ("contivpp sandbox delete -f pods.yaml", "what the file names"),
        ),
    ),
    Command(
        "exec",
        "run a command in the namespaces of a pod or a node",
        _exec,
        _exec_arguments,
        (
            ("contivpp sandbox exec a -- ip address", "in the pod default/a"),
            ("contivpp sandbox exec x/b -- ping 10.1.1.2", "in the pod b of the namespace x"),
            ("contivpp sandbox exec --node node2 -- ip route", "in a node's namespaces"),
            ("contivpp sandbox exec --node node1 -- kubectl get pods -A", "with a real API server"),
        ),
    ),
    Command(
        "matrix",
        "probe every pod from every pod: ICMP, and the TCP ports that they declare",
        _matrix,
        _matrix_arguments,
        (
            ("contivpp sandbox matrix", "o reached, x not"),
            ("contivpp sandbox matrix -o json", "with times and reasons"),
        ),
    ),
    Command(
        "restart",
        "restart the agent, VPP or a server, also one that has died; pods stay connected",
        _restart,
        _restart_arguments,
        (
            ("contivpp sandbox restart agent", "packets go on meanwhile"),
            ("contivpp sandbox restart vpp --node node2 --kill", "the agent fills the new one"),
            ("contivpp sandbox restart etcd --wipe", "with --datastore etcd: nodes keep their IDs"),
        ),
    ),
    Command(
        "break",
        "cut nodes off the network between them, or lose a share of their packets; and heal that",
        _break,
        _break_arguments,
        (
            ("contivpp sandbox break node2", "nobody reaches node2, and it reaches nobody"),
            ("contivpp sandbox break node2 --loss 10", "a tenth of what is sent to it is lost (needs sch_netem)"),
            ("contivpp sandbox break --heal", "every node has its link again"),
        ),
    ),
    Command(
        "status",
        "tell how nodes, VPP, agents and pods stand; exit code 1 if an agent is not ready",
        _status,
        _output_argument,
        (("contivpp sandbox status", "for people"), ("contivpp sandbox status -o json", "for programs")),
    ),
    Command(
        "down",
        "take everything down, also after a crash of any part",
        _down,
        _no_arguments,
        (("contivpp sandbox down", "as often as you like"),),
    ),
    Command(
        "demo",
        "bring nodes up, let pods talk across them, show what VPP counted, take everything down",
        _demo,
        _demo_arguments,
        (
            ("contivpp sandbox demo", "two nodes, four pods"),
            ("contivpp sandbox demo --nodes 3 --pods 6", "three nodes, two pods on each"),
        ),
    ),
)


def _configure(parser: argparse.ArgumentParser) -> None:
    below = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = below.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        default = "demo" if command.name == "demo" else "default"
        one.add_argument("--name", default=default, help="which sandbox (%(default)s)")
        one.add_argument(
            "--dir",
            metavar="FOLDER",
            help="below which folder (/run/contivpp-sandbox for root, $XDG_RUNTIME_DIR/contivpp-sandbox for others)",
        )
        command.configure(one)
        one.set_defaults(action_run=command.run)


def _run(arguments: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = arguments.action_run
    return run(arguments)


SANDBOX = Command(
    "sandbox",
    "nodes on this machine: VPP, agents and pods, as root or as an ordinary user",
    _run,
    _configure,
    (
        ("contivpp sandbox demo", "see it work, in seconds; nothing stays"),
        ("contivpp sandbox up --nodes 2", "nodes to play with; then apply, exec, matrix, break, status, down"),
    ),
)
