"""How long one layer takes to be coded with compensation at 4 bits, on one core.

Weights are random, the second moment is that of 2,048 random inputs with 256 strong directions. `seconds` is processor
time, the least of three runs, since other programs do not lengthen it much; `wall` is the same run by the clock.
"""

from __future__ import annotations

import time
from typing import Any

import torch

import manner
from laconic.calibrate import Layer, LayerEvidence
from laconic.quantize import CompensatedRounding

SAMPLES, STRONG = 2048, 256
LAYERS = {"768x3072": (768, 3072), "3072x768": (3072, 768), "4096x4096": (4096, 4096)}
GOALS = {"768x3072": 2.0, "4096x4096": 40.0}


def problem(outputs: int, inputs: int) -> tuple[torch.Tensor, Layer, LayerEvidence]:
    """Returns a weight, its layer and what passed through it."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.02 * torch.randn(outputs, inputs, generator=generator)
    strong = torch.randn(SAMPLES, STRONG, generator=generator) @ torch.randn(STRONG, inputs, generator=generator)
    x = strong / STRONG**0.5 + 0.3 * torch.randn(SAMPLES, inputs, generator=generator)
    layer = Layer(parameter="weight", kind="linear", shape=(outputs, inputs))
    second, positions = (x.T @ x).double()[None], torch.tensor([SAMPLES])
    return (
        weight,
        layer,
        LayerEvidence(layer=layer, input_sum=second, gradient_sum=None, positions=positions, predictions=SAMPLES),
    )


def timed(outputs: int, inputs: int) -> tuple[float, float]:
    """Returns the processor seconds and the wall seconds of one coding, the faster of three."""
    given, found = problem(outputs, inputs), []
    for _ in range(3):
        busy, begun = time.process_time(), time.perf_counter()
        CompensatedRounding(bits=4).encode(*given)
        found.append((time.process_time() - busy, time.perf_counter() - begun))
    return min(found)


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", list(LAYERS), seeds=1)
    torch.set_num_threads(1)
    manner.line("layer", "seconds", "wall", "goal")
    results: dict[str, Any] = {}
    for row in given.rows:
        seconds, wall = timed(*LAYERS[row])
        results[row] = {"seconds": round(seconds, 2), "wall": round(wall, 2), "goal": GOALS.get(row)}
        manner.line(row, *results[row].values())
    manner.finish({"command": manner.command(), "machine": manner.machine(), "rows": results})


if __name__ == "__main__":
    main()
