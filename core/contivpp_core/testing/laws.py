# SPDX-License-Identifier: Apache-2.0
"""The laws that every renderer keeps, as functions for a plugin's tests.

    @given(st.lists(batches))
    def test_my_renderer_keeps_the_laws(batches):
        check_renderers([MY_TABLE], lambda: [MyRenderer()], batches)

Feed them with batches of writes, best drawn by Hypothesis. A broken law raises an AssertionError that names the law
and the first difference. `contivpp_core.testing.trial` has the laws of descriptors, under faults.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from contivpp_core.engine import Engine
from contivpp_core.records import AnyTable
from contivpp_core.renderers import Renderer
from contivpp_core.state import Put, Ready, State, Write

__all__ = ["Output", "check_hash_seeds", "check_renderers", "examples", "rendered", "seeds", "shown"]

RUNS, FIRST_SEED = "CONTIVPP_LAWS", "CONTIVPP_LAWS_SEED"
"""Variables: by how much to multiply the number of runs, and the first seed."""

Output = tuple[dict[str, Any], dict[str, list[Any]]]
"""What renderers give: owners by item key, and the records of derived tables."""

Renderers = Callable[[], Iterable[Renderer]]


def examples(usual: int) -> int:
    """Return how many examples to try, where the environment asks for nothing else."""
    return usual * int(os.environ.get(RUNS, "1"))


def seeds(usual: int) -> range:
    """Return the seeds of so many runs, where the environment asks for nothing else."""
    first = int(os.environ.get(FIRST_SEED, "1"))
    return range(first, first + examples(usual))


def rendered(tables: Sequence[AnyTable], renderers: Renderers, batches: Iterable[Iterable[Write]]) -> Output:
    """Return the output after writing batch by batch."""
    state = State(tables)
    engine = Engine(state, renderers())
    for batch in batches:
        _write(engine, batch)
    return _output(engine)


def check_renderers(tables: Sequence[AnyTable], renderers: Renderers, batches: Sequence[Sequence[Write]]) -> Output:
    """Check: incremental output equals output from scratch, order does not matter, nothing is written twice.

    Returns the output, for checks of one's own.
    """
    state = State(tables)
    engine = Engine(state, renderers())
    for batch in batches:
        _write(engine, batch)
    output = _output(engine)
    observed = [t for t in state.tables() if not t.table.derived]
    rows: list[Write] = [Put(t.table.name, record) for t in observed for record in t.records()]
    rows += [Ready(t.table.name) for t in observed if t.ready]
    _same("incremental output equals output from scratch", output, rendered(tables, renderers, [rows]))
    random.Random(len(rows)).shuffle(rows)
    one_by_one = rendered(tables, renderers, [[row] for row in rows])
    _same("the order of independent writes does not matter", output, one_by_one)
    engine.take()
    _write(engine, rows)
    assert not engine.take(), "law: writing equal records again changes nothing"
    return output


def _write(engine: Engine, batch: Iterable[Write]) -> None:
    changes, flips = engine.state.apply(batch)
    engine.note(changes, flips)
    for _ in engine.run():
        pass


def _output(engine: Engine) -> Output:
    derived = {t.table.name: t.records() for t in engine.state.tables() if t.table.derived}
    return {key: dict(owners) for key, owners in engine.owners.items()}, derived


def _same(law: str, one: Output, other: Output) -> None:
    for first, second in zip(one, other, strict=True):
        _compare(law, first, second)


def _compare(law: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            raise AssertionError(f"law: {law}; {key} is {one.get(key)} on one side and {other.get(key)} on the other")


def check_hash_seeds(file: str, function: str, *, seeds: Iterable[int] = (1, 2, 3)) -> None:
    """Check: what a function without arguments returns does not depend on the order of sets.

    It is called in a new interpreter for each seed (PYTHONHASHSEED); `file` is that of the test (`__file__`). Let it
    return what renderers give, for example `check_renderers(...)`: items that came out of a set in its order differ.
    """
    outputs = {seed: _in_another_interpreter(file, function, seed) for seed in seeds}
    first, *others = outputs.items()
    for seed, output in others:
        _compare(f"hash seeds {first[0]} and {seed} give the same", dict(first[1]), dict(output))


def _in_another_interpreter(file: str, function: str, seed: int) -> list[tuple[str, str]]:
    program = (
        "import json, runpy, sys\n"
        "from contivpp_core.testing.laws import shown\n"
        "print(json.dumps(shown(runpy.run_path(sys.argv[1])[sys.argv[2]]())))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", program, file, function]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{function} fails with hash seed {seed}:\n{done.stderr}")
    return [(key, value) for key, value in json.loads(done.stdout)]


def shown(value: Any) -> list[tuple[str, str]]:
    """Return an output as text, by key; the order of its own keys says nothing, that of all else does."""
    parts = value if isinstance(value, tuple) else (value,)
    mappings = [part if isinstance(part, Mapping) else {"": part} for part in parts]
    return sorted((str(key), _text(item)) for mapping in mappings for key, item in mapping.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(sorted((str(key), str(item)) for key, item in value.items()))
    return str(value)
