"""Number formats and codebooks for the weights of a CIFAR-10 ResNet-20, one-shot, with 1,024 unlabelled images.

Every weight of the network, first and last layer included, in one format; biases and batch normalisation stay. `kl` is
KL(original || coded) in nats on 2,000 training images that calibration did not see, top-1 of all 10,000 test images.
`bits` counts all that is stored for the weights, in bits a weight: codes, scales, tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import laconic
import manner
import networks
from laconic.calibrate import Layer
from laconic.core.formats import (
    BINARY,
    FP4_E2M1,
    FP6_E2M3,
    FP6_E3M2,
    FP8_E4M3,
    FP8_E5M2,
    NF4,
    TERNARY,
    additive_power_of_two,
    logarithmic,
    power_of_two,
)
from laconic.quantize import (
    MXFP4,
    MXFP6,
    MXFP8,
    MXINT8,
    CompensatedRounding,
    RoundToValues,
    ScalarCodebook,
    VectorCodebook,
)

IMAGES, HELD_BACK, BATCH = 1024, 2000, 128
Technique = CompensatedRounding | RoundToValues | ScalarCodebook | VectorCodebook


def words(bits_a_weight: int) -> Callable[[Layer], Technique]:
    """Returns words of four or eight inputs for a layer, fewer of them where they would outweigh its codes."""

    def chosen(layer: Layer) -> Technique:
        count = layer.matrix_shape[1] * layer.matrix_shape[2] * layer.matrix_shape[0]
        bits = max(4, min(8, (count // 256).bit_length()))
        return VectorCodebook(bits=bits, length=max(1, bits // bits_a_weight))

    return chosen


TECHNIQUES: dict[str, Technique | Callable[[Layer], Technique]] = {
    "affine 4 bits": CompensatedRounding(bits=4),
    "affine 3 bits": CompensatedRounding(bits=3),
    "affine 2 bits": CompensatedRounding(bits=2),
    "fp8 e4m3": RoundToValues(format=FP8_E4M3),
    "fp8 e5m2": RoundToValues(format=FP8_E5M2),
    "fp6 e2m3": RoundToValues(format=FP6_E2M3),
    "fp6 e3m2": RoundToValues(format=FP6_E3M2),
    "nf4": RoundToValues(format=NF4),
    "fp4 e2m1": RoundToValues(format=FP4_E2M1),
    "mxfp8": MXFP8,
    "mxfp6": MXFP6,
    "mxfp4": MXFP4,
    "mxint8": MXINT8,
    "apot 4 bits": RoundToValues(format=additive_power_of_two(4)),
    "power of two 4 bits": RoundToValues(format=power_of_two(4)),
    "logarithmic 4 bits": RoundToValues(format=logarithmic(4, steps=2)),
    "ternary": RoundToValues(format=TERNARY),
    "binary": RoundToValues(format=BINARY),
    "k-means 4 bits": ScalarCodebook(bits=4),
    "k-means 3 bits": ScalarCodebook(bits=3),
    "k-means 2 bits": ScalarCodebook(bits=2),
    "words, about 2 bits": words(2),
    "words, about 1 bit": words(1),
}


def coded(model: nn.Module, technique: Any, evidence: laconic.Evidence) -> laconic.Plan:
    """Returns a plan with every weight in a technique's coding."""
    weights = dict(model.named_parameters())
    edits = []
    for name, seen in evidence.layers.items():
        chosen = technique(seen.layer) if callable(technique) else technique
        edits.append(chosen.edit(weights[name], seen.layer, seen))
    return laconic.Plan.of(edits)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the network's answers."""
    with torch.no_grad():
        return torch.cat([model(networks.cifar_inputs(part)) for part in images.split(500)])


def divergence(reference: Tensor, candidate: Tensor) -> float:
    """Returns the mean KL in nats."""
    p, q = (x.double().log_softmax(1) for x in (reference, candidate))
    return float((p.exp() * (p - q)).sum(1).mean())


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ["float", *TECHNIQUES], seeds=1)
    model = networks.cifar_resnet(20)
    train, _ = networks.cifar_images("train")
    test, labels = networks.cifar_images("test")
    task = laconic.Task(evaluate=list(networks.cifar_inputs(train[:IMAGES]).split(BATCH)))
    evidence = laconic.calibrate(model, task, samples=IMAGES, activations=False)
    held = train[-HELD_BACK:]
    before = logits(model, held)
    results: dict[str, Any] = {}
    manner.line("row", "bits", "KL", "top-1", "seconds")
    for row in given.rows:
        results[row] = measured(row, model, evidence, held, before, test, labels)
        manner.line(row, *results[row].values())
    manner.finish({"command": manner.command(), "machine": manner.machine(), "rows": results})


def measured(
    row: str, model: nn.Module, evidence: laconic.Evidence, held: Tensor, before: Tensor, test: Tensor, labels: Tensor
) -> dict[str, float]:
    """Returns one row of the table."""
    technique, bits, seconds, changed = TECHNIQUES.get(row), 32.0, 0.0, model
    if technique is not None:
        started = time.perf_counter()
        plan = coded(model, technique, evidence)
        seconds, changed = time.perf_counter() - started, laconic.apply(model, plan)
        stored = sum(edit.coding.size_bytes for edit in plan.recodes)
        bits = 8 * stored / sum(edit.coding.decode().numel() for edit in plan.recodes)
    kl = divergence(before, logits(changed, held))
    right = float((logits(changed, test).argmax(1) == labels).double().mean())
    return {
        "bits": round(bits, 3),
        "kl": round(kl, 5),
        "top1": round(100 * right, 2),
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    main()
