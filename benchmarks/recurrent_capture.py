"""Processor seconds to capture a bidirectional LSTM, with its shapes found at once and by a walk through its steps."""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import nullcontext
from unittest.mock import patch

import torch
from torch import nn

import manner
from laconic.graph import capture

ROWS = ("50", "200")


def seconds(steps: int, *, at_once: bool) -> float:
    """Returns what one capture takes."""
    model, x = nn.LSTM(8, 16, batch_first=True, bidirectional=True), torch.randn(2, steps, 8)
    module = sys.modules[capture.__module__]  # The package has the function under the module's name.
    with nullcontext() if at_once else patch.object(module, "recurrent_shapes", nullcontext):
        started = time.process_time()
        capture(model, (x,))
        return time.process_time() - started


def main() -> None:
    """Runs the rows, both ways in turn."""
    given = manner.options(__doc__ or "", ROWS, seeds=3)
    torch.set_num_threads(1)
    seconds(2, at_once=True)
    found = {}
    manner.line("steps", "at once", "step by step", "ratio")
    for row in given.rows:
        pairs = [(seconds(int(row), at_once=True), seconds(int(row), at_once=False)) for _ in given.seeds]
        quick, slow = (statistics.median(each) for each in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        found[row] = {"at_once": round(quick, 3), "step_by_step": round(slow, 3), "ratio": round(ratio, 1)}
        manner.line(row, *found[row].values())
    manner.finish(found)


if __name__ == "__main__":
    main()
