"""The contract that every factorisation keeps, and what each is known to find."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from laconic.calibrate import Layer, LayerEvidence, layers
from laconic.core.errors import UsageError
from laconic.core.spec import Convolutions
from laconic.factorize import ALL, SVD, ActivationAwareSVD, CanonicalPolyadic, Factorization, Tucker2
from laconic.factorize.decomposition import Module

MODULES: dict[str, tuple[Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(24, 16), (5, 7, 24)),
    "wide": (nn.Linear(8, 40, bias=False), (5, 8)),
    "conv1d": (nn.Conv1d(6, 8, 5, padding=2, stride=2), (2, 6, 11)),
    "conv2d": (nn.Conv2d(6, 8, 3, padding=1, stride=2), (2, 6, 9, 8)),
    "dilated": (nn.Conv2d(6, 8, (3, 5), padding="same", dilation=2, padding_mode="reflect"), (2, 6, 9, 11)),
    "grouped": (nn.Conv2d(12, 16, 3, groups=2), (2, 12, 6, 6)),
    "conv3d": (nn.Conv3d(4, 6, 3, padding="valid"), (2, 4, 5, 4, 6)),
}
METHODS = [kind() for kind in ALL]


def layer_of(module: Module) -> Layer:
    return layers(module)[0]


def evidence_of(layer: Layer, *, gradients: bool = True, seed: int = 0) -> LayerEvidence:
    """Second moments of correlated inputs and gradients."""
    groups, outputs, inputs = layer.matrix_shape
    generator = torch.Generator().manual_seed(seed)
    x, g = (
        torch.randn(groups, 200, n, generator=generator).double()
        @ torch.randn(groups, n, n, generator=generator).double()
        for n in (inputs, outputs)
    )
    return LayerEvidence(
        layer=layer,
        input_sum=x.mT @ x,
        gradient_sum=g.mT @ g if gradients else None,
        positions=torch.full((groups,), 200),
        predictions=200,
    )


def kernel_of(built: nn.Module, module: Module) -> Tensor:
    """The weight of one layer that answers like a chain, from the chain's answers to unit inputs."""
    assert isinstance(built, nn.Sequential)
    if isinstance(module, nn.Linear):
        first, second = built
        return second.weight @ first.weight
    inputs, kernel = module.in_channels, module.kernel_size
    units = torch.eye(math.prod((inputs, *kernel))).reshape(-1, inputs, *kernel)
    plain = nn.Sequential(*[_unpadded(stage) for stage in built])
    answers = plain(_spread(units, module.dilation)).flatten(1).T
    whole = answers.reshape(-1, inputs, *kernel)
    rows = whole.reshape(module.groups, -1, *whole.shape[1:])
    width = inputs // module.groups
    return torch.cat([rows[g][:, g * width : (g + 1) * width] for g in range(module.groups)])


def _unpadded(stage: nn.Module) -> nn.Module:
    plain = type(stage)(
        stage.in_channels,
        stage.out_channels,
        stage.kernel_size,
        dilation=stage.dilation,
        groups=stage.groups,
        bias=False,
    )
    plain.weight = stage.weight
    return plain


def _spread(units: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """Puts zeros between elements, so that a dilated kernel fits exactly."""
    sizes = [(n - 1) * d + 1 for n, d in zip(units.shape[2:], dilation, strict=True)]
    spread = units.new_zeros(*units.shape[:2], *sizes)
    spread[(..., *(slice(None, None, d) for d in dilation))] = units
    return spread


CELLS = list(itertools.product(METHODS, MODULES))


@pytest.mark.parametrize(("method", "name"), CELLS, ids=[f"{type(m).__name__}-{n}" for m, n in CELLS])
def test_every_level_is_smaller_and_cheaper_runs_and_errs_by_what_it_says(method: Factorization, name: str) -> None:
    module, shape = MODULES[name]
    layer, before = layer_of(module), module.weight.detach().clone()
    evidence = evidence_of(layer)
    found = method.decompose(module, layer, evidence)
    if found is None:
        assert isinstance(method, Tucker2 | CanonicalPolyadic) and name in ("linear", "wide", "grouped")
        return
    x = torch.randn(shape)
    assert found.levels
    for level in found.levels[:: max(1, len(found.levels) // 4)]:
        built = found.spec(level).build(module)
        held = sum(p.numel() for n, p in built.named_parameters() if not n.endswith("bias"))
        assert held == level.parameters < module.weight.numel()
        assert level.macs < module.weight.numel()
        assert built(x).shape == module(x).shape
        delta = kernel_of(built, module) - module.weight
        assert level.error == pytest.approx(evidence.nats(delta), rel=1e-3, abs=1e-4 * evidence.nats(module.weight))
        answers = built(x) - module(x)
        expected = _difference(module, delta)(x)
        torch.testing.assert_close(answers, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(module.weight, before)


def _difference(module: Module, delta: Tensor) -> nn.Module:
    if isinstance(module, nn.Linear):
        other: nn.Module = nn.Linear(module.in_features, module.out_features, bias=False)
    else:
        other = type(module)(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            padding_mode=module.padding_mode,
            bias=False,
        )
    other.weight = nn.Parameter(delta.detach())
    return other


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_equal_arguments_give_equal_levels_and_weights(method: Factorization) -> None:
    module, _ = MODULES["conv2d"]
    one, other = (method.decompose(module, layer_of(module), evidence_of(layer_of(module))) for _ in range(2))
    assert one is not None and other is not None and one.levels == other.levels
    first, second = (d.spec(d.levels[0]).tensors() for d in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_activation_aware_matrix_is_the_whitened_optimum() -> None:
    module, rank = nn.Linear(10, 7), 3
    evidence = evidence_of(layer_of(module), gradients=False)
    W, A = module.weight.detach().double(), evidence.A[0]
    values, vectors = torch.linalg.eigh(A)
    root, inverse = vectors * values.sqrt() @ vectors.T, vectors / values.sqrt() @ vectors.T
    u, s, v = torch.linalg.svd(W @ root)
    expected = u[:, :rank] * s[:rank] @ v[:rank] @ inverse
    found = ActivationAwareSVD().decompose(module, layer_of(module), evidence)
    assert found is not None
    level = next(level for level in found.levels if level.rank == (rank,))
    torch.testing.assert_close(kernel_of(found.spec(level).build(module), module).double(), expected, atol=1e-5, rtol=0)
    assert level.error == pytest.approx(float(s[rank:].square().sum() / s.square().sum()), rel=1e-9)


def test_without_evidence_both_are_the_truncated_singular_values() -> None:
    module = nn.Linear(12, 9)
    u, s, v = torch.linalg.svd(module.weight.detach().double(), full_matrices=False)
    for method in (SVD(), ActivationAwareSVD()):
        found = method.decompose(module, layer_of(module))
        assert found is not None
        for level in found.levels:
            r = level.rank[0]
            made = kernel_of(found.spec(level).build(module), module).double()
            torch.testing.assert_close(made, u[:, :r] * s[:r] @ v[:r], atol=1e-5, rtol=0)


def test_an_input_that_never_occurs_costs_nothing() -> None:
    module = nn.Linear(8, 8, bias=False)
    x = torch.randn(50, 2).double() @ torch.randn(2, 8).double()  # Inputs of rank 2.
    evidence = LayerEvidence(
        layer=layer_of(module),
        input_sum=(x.T @ x)[None],
        gradient_sum=None,
        positions=torch.tensor([50]),
        predictions=50,
    )
    aware, blind = (m.decompose(module, layer_of(module), evidence) for m in (ActivationAwareSVD(), SVD()))
    assert aware is not None and blind is not None
    assert aware.levels[1].rank == (2,) and aware.levels[1].error < 1e-12 < 1e-3 < blind.levels[1].error


def test_a_kernel_of_known_rank_is_found_exactly() -> None:
    """Two separable kernels: Tucker ranks 2 and 2, canonical rank 2."""
    module = nn.Conv2d(6, 8, 3, bias=False)
    parts = [torch.randn(n, 2, generator=torch.Generator().manual_seed(n)) for n in (8, 6, 3, 4)]
    kernel = torch.einsum("or,ir,hr,wr->oihw", parts[0], parts[1], parts[2], parts[3][:3])
    with torch.no_grad():
        module.weight.copy_(kernel)
    tucker = Tucker2().decompose(module, layer_of(module))
    canonical = CanonicalPolyadic(levels=24, iterations=500).decompose(module, layer_of(module))
    assert tucker is not None and canonical is not None
    assert next(x.error for x in tucker.levels if x.rank == (2, 2)) < 1e-10
    assert next(x.error for x in canonical.levels if x.rank == (2,)) < 1e-6


def test_a_kernel_that_is_a_sum_of_fewer_terms_is_taken_apart_all_the_same() -> None:
    """With more terms than the kernel has, the equations for one factor can be singular."""
    torch.manual_seed(2)
    module = nn.Conv2d(6, 9, (5, 1))
    module.weight.data = module.weight.data[:1].repeat(9, 1, 1, 1)
    found = CanonicalPolyadic().decompose(module, layer_of(module))
    assert found is not None and min(level.error for level in found.levels) < 1e-6


def test_directions_are_those_of_each_group_alone() -> None:
    module, _ = MODULES["grouped"]
    evidence = evidence_of(layer_of(module))
    found = SVD().decompose(module, layer_of(module), evidence)
    assert found is not None
    spec = found.spec(found.levels[0])
    assert isinstance(spec, Convolutions) and [stage.groups for stage in spec.stages] == [2, 2]


@pytest.mark.parametrize("kind", [Tucker2, CanonicalPolyadic])
@pytest.mark.parametrize("field", ["levels", "iterations"])
def test_numbers_outside_their_domain_are_refused(kind: type[Tucker2 | CanonicalPolyadic], field: str) -> None:
    with pytest.raises(UsageError, match=f"{kind.__name__}.{field}: got 0"):
        kind(**{field: 0})


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_a_convolution_padded_unevenly_and_a_zero_kernel_are_harmless(method: Factorization) -> None:
    uneven = nn.Conv2d(6, 8, 2, padding="same")
    assert method.decompose(uneven, layer_of(uneven)) is None
    zero = nn.Conv2d(6, 8, 3)
    nn.init.zeros_(zero.weight)
    found = method.decompose(zero, layer_of(zero), evidence_of(layer_of(zero)))
    assert found is None or all(level.error == 0 for level in found.levels)
