"""Small layers and what passed through them."""

import torch

from laconic.calibrate import Layer, LayerEvidence

LINEAR = Layer(parameter="fc.weight", kind="linear", shape=(12, 20))
LAYERS = {
    "linear": LINEAR,
    "conv": Layer(parameter="conv.weight", kind="conv", shape=(8, 4, 3, 3)),
    "grouped conv": Layer(parameter="conv.weight", kind="conv", shape=(8, 2, 3, 3), groups=4),
    "depthwise conv": Layer(parameter="conv.weight", kind="conv", shape=(6, 1, 3, 3), groups=6),
    "transposed conv": Layer(parameter="up.weight", kind="conv_transpose", shape=(4, 3, 2, 2), groups=2),
    "transposed linear": Layer(parameter="w", kind="linear", shape=(10, 7), transposed=True),
    "stack": Layer(parameter="experts", kind="linear", shape=(3, 6, 9), groups=3),
    "embedding": Layer(parameter="embed.weight", kind="embedding", shape=(15, 6)),
}


def weight_of(layer: Layer) -> torch.Tensor:
    return torch.randn(layer.shape, generator=torch.Generator().manual_seed(0))


def evidence_of(layer: Layer, vectors: int = 200, *, gradients: bool = True) -> LayerEvidence:
    """Of inputs and gradients that go together; an embedding's as counts."""
    groups, outputs, inputs = layer.matrix_shape
    generator = torch.Generator().manual_seed(1)

    def moment(size: int) -> torch.Tensor:
        mix = torch.randn(groups, size, size, generator=generator, dtype=torch.float64)
        x = torch.randn(groups, vectors, size, generator=generator, dtype=torch.float64) @ mix
        return x.mT @ x

    seen = moment(inputs)
    if layer.kind == "embedding":
        seen = torch.randint(1, 9, (1, inputs), generator=generator).double()
    return LayerEvidence(
        layer=layer,
        input_sum=seen,
        gradient_sum=moment(outputs) if gradients else None,
        positions=torch.full((groups,), vectors),
        predictions=vectors,
    )


def nothing_reached(layer: Layer) -> LayerEvidence:
    groups, _, inputs = layer.matrix_shape
    return LayerEvidence(
        layer=layer,
        input_sum=torch.zeros(groups, inputs, inputs, dtype=torch.float64),
        gradient_sum=None,
        positions=torch.zeros(groups, dtype=torch.int64),
        predictions=1,
    )
