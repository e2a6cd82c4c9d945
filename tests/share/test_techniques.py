"""Numbers shared by hash, and combinations of atoms."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from laconic.calibrate import Layer, LayerEvidence, calibrate
from laconic.calibrate.view import View
from laconic.core.errors import ModelError, UsageError
from laconic.core.hashing import shared_places
from laconic.core.projection import project
from laconic.core.task import Task
from laconic.share import ALL, HashedSharing, SparseDictionary

TECHNIQUES = {
    "hashed": HashedSharing(compression=4),
    "hashed by the diagonal": HashedSharing(compression=4, steps=0),
    "rows": SparseDictionary(atoms=6, nonzeros=2, rounds=3),
    "short vectors": SparseDictionary(atoms=16, nonzeros=2, length=5, rounds=3),
}
guided = pytest.mark.parametrize("technique", [t for name, t in TECHNIQUES.items() if name != "hashed by the diagonal"])
each_technique = pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=TECHNIQUES.keys())


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(outputs: int, inputs: int) -> Layer:
    return Layer(parameter="fc.weight", kind="linear", shape=(outputs, inputs))


def evidence(layer: Layer, vectors: int = 100, seed: int = 1) -> LayerEvidence:
    """Of inputs that go together."""
    groups, _, inputs = layer.matrix_shape
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, vectors, inputs, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) + 1
    positions = torch.full((groups,), vectors)
    return LayerEvidence(layer=layer, input_sum=x.mT @ x, gradient_sum=None, positions=positions, predictions=vectors)


def output_error(coding, given, seen) -> float:
    """`tr(dW A dW^T)`, in float64."""
    delta = seen.layer.matrix((coding.decode() - given).double())
    return float(torch.einsum("goi,gij,goj->", delta, seen.A, delta))


def test_every_technique_is_tried_here() -> None:
    assert {type(technique) for technique in TECHNIQUES.values()} == set(ALL)


@guided
@pytest.mark.parametrize("vectors", [5, 300])
def test_the_output_changes_less_than_without_evidence(technique, vectors) -> None:
    layer, given = linear(32, 24), weight(32, 24)
    seen = evidence(layer, vectors)
    assert output_error(technique.encode(given, layer, seen), given, seen) < 0.98 * output_error(
        technique.encode(given, layer), given, seen
    )


@guided
@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: nn.Conv2d(8, 12, 3, groups=2), (8, 8, 7, 7)),
        (lambda: nn.ConvTranspose2d(8, 12, 3, groups=2), (8, 8, 5, 5)),
        (lambda: nn.Conv1d(10, 24, 1), (8, 10, 7)),
    ],
    ids=["grouped", "transposed", "pointwise"],
)
def test_convolutions_change_less_at_their_output_too(technique, make, inputs) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(make())
    images = torch.randn(inputs).cumsum(-1)
    seen = calibrate(model, Task(evaluate=[images]), gradients=False).layers["0.weight"]
    given = model[0].weight.detach()
    with_evidence = technique.encode(given, seen.layer, seen)
    assert with_evidence.shape == given.shape
    assert output_error(with_evidence, given, seen) <= output_error(technique.encode(given, seen.layer), given, seen)


@each_technique
def test_equal_inputs_give_equal_plans(technique) -> None:
    layer, given = linear(32, 24), weight(32, 24)
    seen = evidence(layer)
    assert technique.edit(given, layer, seen).digest == technique.edit(given, layer, seen).digest


@each_technique
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-6, 1e6, 1e24])
def test_weights_of_any_size_come_out_finite_and_near(technique, size) -> None:
    layer, given = linear(32, 24), weight(32, 24) * size
    for seen in (None, evidence(layer)):
        decoded = technique.encode(given, layer, seen).decode().double()
        assert decoded.isfinite().all()
        assert (decoded - given.double()).norm() <= 1.5 * given.double().norm()
        assert size == 0 or decoded.any()


@each_technique
def test_the_diagonal_alone_is_enough(technique) -> None:
    layer, given = linear(32, 24), weight(32, 24)
    full = evidence(layer)
    seen = replace(full, input_sum=full.input_sum.diagonal(dim1=1, dim2=2))
    assert technique.encode(given, layer, seen).decode().isfinite().all()


@each_technique
def test_weights_that_are_not_finite_are_refused_by_name(technique) -> None:
    with pytest.raises(ModelError, match=r"fc\.weight"):
        technique.encode(torch.full((32, 24), torch.nan), linear(32, 24))


@each_technique
def test_what_is_stored_has_the_size_that_was_told(technique) -> None:
    for layer in (linear(32, 24), Layer(parameter="c", kind="conv", shape=(16, 6, 3, 3), groups=2)):
        assert technique.encode(weight(*layer.shape), layer).size_bytes == technique.size_bytes(layer)


@pytest.mark.parametrize(
    "layer",
    [
        Layer(parameter="w", kind="conv", shape=(8, 3, 2, 2), groups=2),
        Layer(parameter="w", kind="conv_transpose", shape=(6, 4, 2, 3), groups=2),
        Layer(parameter="w", kind="linear", shape=(6, 4), transposed=True),
        Layer(parameter="w", kind="linear", shape=(3, 6, 4), groups=3),
    ],
    ids=["grouped", "transposed convolution", "transposed linear", "stack"],
)
def test_a_view_measures_errors_as_the_layer_does(layer) -> None:
    given, seen, view = weight(*layer.shape).double(), evidence(layer), View.of(layer, whole_kernels=True)
    matrix, moment = view.layout.view(given), view.moment(seen.A)
    mine = torch.einsum("goi,gij,goj->go", matrix, moment, matrix)
    original = layer.matrix(given)
    assert torch.allclose(mine, torch.einsum("goi,gij,goj->go", original, seen.A, original))
    assert torch.equal(view.layout.restore(matrix), given)


# Numbers shared by hash.


def test_numbers_are_the_means_of_their_signed_weights() -> None:
    layer, given = linear(4, 6), weight(4, 6)
    coding = HashedSharing(compression=8, seed=3).encode(given, layer)
    buckets, signs = shared_places(24, 3, 3)
    for bucket in range(3):
        mean = (given.flatten() * signs)[buckets == bucket].mean()
        assert float(coding.values[bucket]) == pytest.approx(float(mean), rel=1e-3)


def test_numbers_are_the_least_squares_of_the_layers_output() -> None:
    layer, given = linear(16, 10), weight(16, 10)
    seen = evidence(layer)
    coding = HashedSharing(compression=8, damping=1e-9, steps=60).encode(given, layer, seen)
    buckets, signs = shared_places(160, 20, 0)
    inputs = torch.linalg.cholesky(seen.A[0])
    spread = torch.zeros(160, 20, dtype=torch.float64)
    spread[torch.arange(160), buckets.long()] = signs.double()
    outputs = (spread.T.reshape(20, 16, 10) @ inputs).flatten(1).T
    wanted = (given.double() @ inputs).flatten()[:, None]
    right = torch.linalg.lstsq(outputs, wanted).solution[:, 0]
    assert torch.allclose(coding.values.double(), right, rtol=2e-3, atol=2e-3)


def test_outputs_with_larger_gradients_count_for_more() -> None:
    layer, given = linear(16, 24), weight(16, 24)
    gradients = torch.diag(torch.tensor([100.0] * 8 + [0.0] * 8, dtype=torch.float64))[None]
    plain = evidence(layer)
    seen = replace(plain, gradient_sum=gradients)
    half = given.clone()

    def error(found: LayerEvidence) -> float:
        decoded = HashedSharing(compression=4).encode(given, layer, found).decode()
        half[:8] = decoded[:8]
        delta = (half - given)[:8].double()
        return float(torch.einsum("oi,ij,oj->", delta, plain.A[0], delta))

    assert error(seen) < 0.8 * error(plain)


def test_means_are_weighed_by_the_energy_of_their_inputs() -> None:
    layer, given = linear(4, 6), weight(4, 6)
    energy = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]], dtype=torch.float64)
    seen = replace(evidence(layer), input_sum=energy)
    coding = HashedSharing(compression=8, damping=1e-9).encode(given, layer, seen)
    buckets, signs = shared_places(24, 3, 0)
    mass = energy.expand(4, 6).flatten()
    for bucket in range(3):
        here = buckets == bucket
        mean = (given.flatten() * signs * mass)[here].sum() / mass[here].sum()
        assert float(coding.values[bucket]) == pytest.approx(float(mean), rel=1e-3)


def test_another_seed_shares_otherwise() -> None:
    layer, given = linear(16, 16), weight(16, 16)
    first, second = (HashedSharing(seed=seed).encode(given, layer).decode() for seed in (0, 1))
    assert not torch.equal(first, second)


def test_training_keeps_the_sharing() -> None:
    model = nn.Linear(12, 8)
    coding = HashedSharing(compression=6).encode(model.weight, linear(8, 12))
    project(model, "weight", coding)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, before = weight(32, 12), coding.decode()
    for _ in range(5):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    trained = model.weight.detach()
    buckets, signs = shared_places(96, 16, 0)
    assert not torch.allclose(trained, before, atol=1e-3)
    for bucket in buckets.unique():
        shared = (trained.flatten() * signs)[buckets == bucket]
        assert (shared == shared[0]).all()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("compression", 1.0), ("compression", float("inf")), ("seed", -1), ("damping", 0.0), ("steps", -1)],
)
def test_settings_of_hashing_outside_their_domain_are_refused(setting, value) -> None:
    with pytest.raises(UsageError, match=f"HashedSharing.{setting}"):
        HashedSharing(**{setting: value})


# Combinations of atoms.


def test_rows_made_of_two_atoms_are_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    atoms, rows = weight(4, 24), 400
    amounts = torch.zeros(rows, 4)
    for row in amounts:
        row[torch.randperm(4, generator=generator)[:2]] = torch.randn(2, generator=generator)
    given = amounts @ atoms
    found = SparseDictionary(atoms=4, nonzeros=2, rounds=40).encode(given, linear(rows, 24)).decode()
    assert (found - given).norm() < 0.01 * given.norm()


def test_more_rounds_and_more_atoms_leave_less_over() -> None:
    layer, given = linear(300, 12), weight(300, 12)

    def left(**settings) -> float:
        return float((SparseDictionary(length=6, **settings).encode(given, layer).decode() - given).norm())

    assert left(atoms=32, rounds=8) < left(atoms=32, rounds=0)
    assert left(atoms=64, rounds=8) < left(atoms=32, rounds=8)
    assert left(atoms=32, nonzeros=3) < left(atoms=32, nonzeros=2) < left(atoms=32, nonzeros=1)


def test_kernels_are_the_vectors_of_a_convolution() -> None:
    layer = Layer(parameter="c", kind="conv", shape=(16, 8, 3, 3))
    shapes = weight(4, 3, 3)
    given = shapes[torch.arange(128) % 4].view(16, 8, 3, 3) * weight(16, 8, 1, 1, seed=1)
    coding = SparseDictionary(atoms=4, nonzeros=1).encode(given, layer)
    assert str(coding) == "1 of 4 atoms for every 9 weights"
    assert (coding.decode() - given).norm() < 2e-3 * given.norm()


def test_rows_of_an_embedding_count_as_often_as_they_are_looked_up() -> None:
    layer = Layer(parameter="e", kind="embedding", shape=(40, 16))
    given, counts = weight(40, 16), torch.tensor([[1000.0] * 6 + [0.0] * 34], dtype=torch.float64)
    seen = LayerEvidence(
        layer=layer, input_sum=counts, gradient_sum=None, positions=torch.tensor([6000]), predictions=6000
    )
    technique = SparseDictionary(atoms=6, nonzeros=2)
    errors = [(technique.encode(given, layer, e).decode() - given)[:6].norm() for e in (seen, None)]
    assert errors[0] < 0.5 * errors[1]


def test_a_dictionary_larger_than_its_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="smaller than the layer"):
        SparseDictionary(atoms=64).encode(weight(8, 16), linear(8, 16))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("atoms", 1), ("atoms", 257), ("nonzeros", 0), ("nonzeros", 65), ("length", 0), ("rounds", -1), ("damping", 0.0)],
)
def test_settings_of_dictionaries_outside_their_domain_are_refused(setting, value) -> None:
    with pytest.raises(UsageError, match=f"SparseDictionary.{setting}"):
        SparseDictionary(**{setting: value})
