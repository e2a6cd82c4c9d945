"""What the way that is recommended costs against the best of an exhaustive grid, at the same size, without training.

Three small networks: images (the demo's digits), text (docstrings of four libraries) and series (made-up tones). The
grid cuts channels to five fractions of the multiply-accumulates, gives all weights one of five numbers of bits, and
rounds activations to 8 bits or not: 50 files, each exported and judged. For each size the best of the grid that fits is
looked up by its accuracy on the evaluation data - the grid selects on what it is judged by, `compress` only on
distances on calibration data. Regret is in points of accuracy, the mean over sizes; negative if the grid is beaten.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import laconic
import manner
from laconic import demo
from laconic.core.errors import LaconicError
from laconic.core.plan import Plan
from laconic.export.onnxruntime import Session, export
from laconic.measure import answers, evaluate

sys.path.insert(0, str(manner.REPOSITORY / "examples"))
import sound
import text

KEEPS, BITS, SIZES = (1.0, 0.75, 0.5, 0.35, 0.25), (8, 6, 4, 3, 2), (0.15, 0.1, 0.06)
Prepared = tuple[nn.Module, laconic.Task]


def digits() -> Prepared:
    task = demo.digits()
    return demo.trained_network(task), task


TASKS: dict[str, Callable[[], Prepared]] = {"digits": digits, "text": text.trained, "series": sound.trained}


def judged(network: nn.Module, plan: Plan, task: laconic.Task) -> tuple[int, float]:
    """Returns the bytes of the exported file and its accuracy in the runtime, in percent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        size = export(network, plan, task, next(task.batches("evaluate")), path).size_bytes
        return size, 100 * evaluate(answers(Session(path), task), task.score).value


def grid(model: nn.Module, task: laconic.Task) -> list[tuple[int, float, str]]:
    """Returns bytes, accuracy and name of every cell."""
    found = []
    for keep in KEEPS:
        try:
            pruned = laconic.prune(model, task, ratio=1 - keep, target=laconic.Target.parse("onnxruntime"))
        except LaconicError as error:
            manner.line(f"keep {keep}", str(error)[:60])
            continue
        base, first = (model, Plan()) if keep == 1 else (pruned.model, pruned.plan)
        for bits in BITS:
            for activations in (None, 8):
                plan = laconic.quantize(base, task, bits=bits, activation_bits=activations)
                size, accuracy = judged(laconic.apply(base, plan).eval(), first + plan, task)
                found.append((size, accuracy, f"{keep} of the MACs, {bits} bits, activations {activations or 'float'}"))
    return found


def main() -> None:
    """Runs the tasks."""
    given = manner.options(__doc__ or "", list(TASKS), seeds=1)
    torch.set_num_threads(1)
    regrets: dict[str, float] = {}
    ratios: dict[str, float] = {}
    cells: dict[str, Any] = {}
    for row in given.rows:
        model, task = TASKS[row]()
        whole, accuracy = judged(model, Plan(), task)
        start = time.process_time()
        tried = grid(model, task)
        grid_seconds = time.process_time() - start
        manner.line(row, f"{accuracy:.2f} %", f"{whole:,} B", f"{grid_seconds:.0f} s")
        seconds = []
        for size in SIZES:
            fitting = [cell for cell in tried if cell[0] <= size * whole]
            start = time.process_time()
            result = laconic.compress(model, task, laconic.Budget(size=size), recovery=None)
            seconds.append(time.process_time() - start)
            score = result.report.compressed.score
            assert score is not None
            best = max(fitting, key=lambda cell: cell[1], default=None)
            cells.setdefault(row, {})[str(size)] = {
                "met": result.met,
                "accuracy": round(100 * score.value, 2),
                "plan": next(one.plan for one in result.report.attempts if one.accepted),
                "best_of_grid": None if best is None else [round(best[1], 2), best[2]],
            }
            manner.line(size, *map(str, cells[row][str(size)].values()), widths=[8, 8, 8, 70, 60])
        pairs = [(c["best_of_grid"][0], c["accuracy"]) for c in cells[row].values() if c["best_of_grid"] and c["met"]]
        regrets[row] = round(statistics.mean(best - ours for best, ours in pairs), 3)
        ratios[row] = round(statistics.mean(seconds) / grid_seconds, 3)
    manner.finish({"regret_points": regrets, "time_ratio": ratios, "cells": cells})


if __name__ == "__main__":
    main()
