"""Every model of tests/zoo through Laconic and through torch-pruning 1.6.1, side by side, each in its own process.

Both are asked to take half of the multiply-accumulates out. `laconic.prune(model, inputs, ratio=0.5)` is told nothing
about the model. torch-pruning is called as its documentation shows: example inputs, group magnitude over all layers,
the last layers ignored, step by step until half is gone. What counts is written in docs/coverage.md; torch-pruning may
save with pickle, and is not asked to export. Needs what `make zoo` installs, and torch-pruning==1.6.1. With `--write`
each row goes into results/coverage.json and docs/coverage.md as soon as it is there; `--missing` runs what has no row,
`--first` at most fifteen models, so that a machine that others wait for is given back in between.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

import manner

sys.path.insert(0, str(manner.REPOSITORY / "tests"))

import zoo
from other_pruner import pruned_by_the_other, reloaded_by_the_other
from zoo import libraries, table
from zoo.apart import apart
from zoo.checks import CHECKS, Row, judge, reload
from zoo.entry import Entry

LIMIT_S = 40
CHUNK = 15
TOOLS = ("laconic", "torch_pruning")


def compared(entry: Entry) -> dict[str, dict[str, Any]]:
    """Returns one row a tool. Both run at the same time, so that both meet the same machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = {
            "laconic": apart(lambda: asdict(judge(entry, folder / "laconic")), LIMIT_S),
            "torch_pruning": apart(lambda: asdict(pruned_by_the_other(entry, folder)), LIMIT_S),
        }
        rows = {tool: _row(entry, *child.result()) for tool, child in running.items()}
        reloads = {
            "laconic": partial(reload, entry, folder / "laconic"),
            "torch_pruning": partial(reloaded_by_the_other, folder),
        }
        for tool, load in reloads.items():
            if "forward" in rows[tool].passed:
                _, error = apart(load, LIMIT_S).result()
                if error:
                    rows[tool].failures["reload"] = error
                else:
                    rows[tool].passed.append("reload")
    return {tool: asdict(row) for tool, row in rows.items()}


def _row(entry: Entry, said: Any, error: str) -> Row:
    return Row(**said) if said else Row(entry.name, failures={"time and crashes": error})


def summary(rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the last line."""
    asked = {"laconic": CHECKS, "torch_pruning": table.OTHER_CHECKS}
    found: dict[str, Any] = {}
    for tool in TOOLS:
        passed = [row for row in rows[tool] if table.verdict(row, asked[tool]) == "pass"]
        seconds = [row["seconds"] for row in rows[tool] if row["seconds"]]
        median = round(statistics.median(seconds), 2) if seconds else None
        found[tool] = {"passed": len(passed), "of": len(rows[tool]), "median_seconds": median}
    found["failed"] = [row["name"] for row in rows["laconic"] if table.verdict(row, CHECKS) != "pass"]
    return found


def merged(results: dict[str, Any], new: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the results with some rows replaced, in the order of the zoo."""
    names = [entry.name for entry in zoo.all_entries()]
    rows = {}
    for tool in TOOLS:
        by_name = {row["name"]: row for row in (*results.get("rows", {}).get(tool, ()), *new[tool])}
        rows[tool] = [by_name[name] for name in names if name in by_name]
    about = {
        "command": ".venv/bin/python benchmarks/coverage.py --write",
        "date": datetime.date.today().isoformat(),
        "machine": manner.machine(),
        "seed": 0,
        "limit_seconds": LIMIT_S,
    }
    return {**about, **summary(rows), "rows": rows}


@contextmanager
def alone() -> Iterator[None]:
    """Keeps other runs that write the same file waiting."""
    with table.RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(new: dict[str, list[dict[str, Any]]]) -> None:
    """Puts rows into the results file and the page."""
    with alone():
        old = json.loads(table.RESULTS.read_text(encoding="utf-8")) if table.RESULTS.exists() else {}
        text = json.dumps(merged(old, new), indent=1)
        table.RESULTS.write_text(text + "\n", encoding="utf-8")
        table.write()
    table.RESULTS.with_suffix(".lock").unlink(missing_ok=True)


def flag(name: str) -> bool:
    """Takes one of this script's own flags off the command line."""
    given = name in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != name]
    return given


def missing(names: list[str]) -> list[str]:
    """Returns the models that have no row yet."""
    rows = json.loads(table.RESULTS.read_text(encoding="utf-8"))["rows"]["laconic"] if table.RESULTS.exists() else []
    return [name for name in names if name not in {row["name"] for row in rows}]


def main() -> None:
    writing, only_missing, only_first = flag("--write"), flag("--missing"), flag("--first")
    entries = {entry.name: entry for entry in zoo.all_entries()}
    given = manner.options(__doc__ or "", list(entries), seeds=1)
    given.rows = missing(given.rows) if only_missing else given.rows
    given.rows = given.rows[:CHUNK] if only_first else given.rows
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    libraries.timm()
    libraries.transformers()
    rows: dict[str, list[dict[str, Any]]] = {tool: [] for tool in TOOLS}
    manner.line("model", "laconic", "seconds", "torch-pruning", "seconds", widths=(48, 16, 10, 16, 10))
    for name in given.rows:
        found = compared(entries[name])
        for tool in TOOLS:
            rows[tool].append(found[tool])
        said = [table.verdict(found["laconic"], CHECKS), found["laconic"]["seconds"]]
        said += [table.verdict(found["torch_pruning"], table.OTHER_CHECKS), found["torch_pruning"]["seconds"]]
        manner.line(name, *said, widths=(48, 16, 10, 16, 10))
        if writing:
            write({tool: rows[tool][-1:] for tool in TOOLS})
    manner.finish(summary(rows))


if __name__ == "__main__":
    main()
