"""Small layers, weights and evidence that the tests of techniques share."""

import torch

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.codings import Coding


def linear(outputs: int, inputs: int) -> Layer:
    return Layer(parameter="fc.weight", kind="linear", shape=(outputs, inputs))


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def evidence(layer: Layer, vectors: int = 100, seed: int = 1) -> LayerEvidence:
    """Of inputs that go together."""
    groups, _, inputs = layer.matrix_shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, vectors, inputs, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) + 1
    positions = torch.full((groups,), vectors)
    return LayerEvidence(layer=layer, input_sum=x.mT @ x, gradient_sum=None, positions=positions, predictions=vectors)


def counted(layer: Layer, *counts: float) -> LayerEvidence:
    """Of an embedding whose rows were looked up so often."""
    return LayerEvidence(
        layer=layer,
        input_sum=torch.tensor([counts], dtype=torch.float64),
        gradient_sum=None,
        positions=torch.tensor([int(sum(counts))]),
        predictions=int(sum(counts)),
    )


def output_error(coding: Coding, given: torch.Tensor, seen: LayerEvidence) -> torch.Tensor:
    """`dW A dW^T` of every output, in float64."""
    delta = seen.layer.matrix((coding.decode() - given).double())
    return torch.einsum("goi,gij,goj->go", delta, seen.A, delta)
