"""Learned values and words."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.calibrate import Layer, calibrate
from laconic.core.errors import ModelError, UsageError
from laconic.core.task import Task
from laconic.quantize import ScalarCodebook, VectorCodebook, codebooks
from quantize.layers import counted, evidence, linear, output_error, weight

TECHNIQUES = {
    "values": ScalarCodebook(bits=2),
    "values of three rows": ScalarCodebook(bits=2, rows=3, scaled=False),
    "words": VectorCodebook(bits=3, length=4),
    "sums of words": VectorCodebook(bits=2, length=3, stages=2),
}
each_technique = pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=TECHNIQUES.keys())


def nearest(technique, given_, layer, seen):
    """What the compensated search starts from."""
    length, stages = getattr(technique, "length", 1), getattr(technique, "stages", 1)
    rows = getattr(technique, "rows", None)
    words = codebooks.Words(bits=technique.bits, length=length, stages=stages, rows=rows, scaled=technique.scaled)
    return codebooks.learnt(given_, layer, seen, words, seed=0)


@each_technique
@settings(max_examples=12)
@given(outputs=st.integers(6, 9), inputs=st.integers(5, 14), vectors=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_output_changes_no_more_than_with_nearest_words(technique, outputs, inputs, vectors, seed) -> None:
    layer, given_ = linear(outputs, inputs), weight(outputs, inputs, seed=seed)
    seen = evidence(layer, vectors, seed)
    mine = output_error(technique.encode(given_, layer, seen), given_, seen).sum()
    plain = output_error(nearest(technique, given_, layer, seen), given_, seen).sum()
    slack = 1e-5 * float(torch.einsum("oi,ij,oj->o", given_.double(), seen.A[0], given_.double()).sum())
    assert mine <= plain * (1 + 1e-4) + slack


@each_technique
def test_correlated_inputs_take_most_of_the_error(technique) -> None:
    layer, given_ = linear(24, 48), weight(24, 48)
    seen = evidence(layer, vectors=300)
    mine = output_error(technique.encode(given_, layer, seen), given_, seen).sum()
    assert mine < 0.75 * output_error(nearest(technique, given_, layer, seen), given_, seen).sum()


@each_technique
@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: torch.nn.Conv2d(8, 12, 3, groups=2), (8, 8, 7, 7)),
        (lambda: torch.nn.ConvTranspose2d(8, 12, 3, groups=2), (8, 8, 5, 5)),
    ],
    ids=["grouped", "transposed"],
)
def test_every_kind_of_layer_answers_nearer_to_the_original(technique, make, inputs) -> None:
    module, x = make(), weight(*inputs).cumsum(1).cumsum(-1)
    model = torch.nn.Sequential(module)
    seen = calibrate(model, Task(evaluate=[x]), gradients=False, activations=False).layers["0.weight"]
    before, original = model(x), module.weight.detach().clone()

    def error(coding) -> float:
        with torch.no_grad():
            module.weight.copy_(coding.decode())
            return float((model(x) - before).double().square().sum())

    mine, plain = technique.encode(original, seen.layer, seen), nearest(technique, original, seen.layer, seen)
    if isinstance(technique, VectorCodebook) and isinstance(module, torch.nn.ConvTranspose2d):
        assert torch.equal(mine.decode(), plain.decode())  # its vectors are no runs of inputs
    else:
        assert error(mine) < 0.9 * error(plain)


def test_values_are_the_least_squares_ones_for_what_was_chosen() -> None:
    layer, given_ = linear(3, 6), weight(3, 6)
    seen = evidence(layer)
    coding = ScalarCodebook(bits=1, scaled=False, damping=1e-9, rounds=8).encode(given_, layer, seen)
    # Of two shared values a, b: minimise the sum over rows of (w - chosen) A (w - chosen)^T.
    chosen = torch.nn.functional.one_hot(coding.integers().view(3, 6).long(), 2).double()
    normal = torch.einsum("oik,ij,ojl->kl", chosen, seen.A[0], chosen)
    right = torch.einsum("oik,ij,oj->k", chosen, seen.A[0], given_.double())
    expected = torch.linalg.solve(normal, right)
    assert torch.allclose(coding.books.flatten().double(), expected, rtol=2e-3)


def test_words_are_the_least_squares_ones_for_what_was_chosen() -> None:
    layer, given_ = linear(16, 6), weight(16, 6)
    seen = evidence(layer)
    coding = VectorCodebook(bits=1, length=2, scaled=False, damping=1e-9).encode(given_, layer, seen)
    chosen = torch.nn.functional.one_hot(coding.integers().view(16, 3).long(), 2).double()
    design = torch.einsum("ovk,de->ovdke", chosen, torch.eye(2).double()).reshape(16, 6, 4)
    normal = torch.einsum("oia,ij,ojb->ab", design, seen.A[0], design)
    right = torch.einsum("oia,ij,oj->a", design, seen.A[0], given_.double())
    assert torch.allclose(coding.books.flatten().double(), torch.linalg.solve(normal, right), rtol=2e-2, atol=1e-3)


def test_a_second_look_at_sums_of_words_takes_some_of_the_error() -> None:
    """Chosen anew from nothing, sums come out worse than they were."""
    layer, given_ = linear(64, 96), weight(64, 96)
    seen = evidence(layer, vectors=400)

    def error(rounds: int) -> torch.Tensor:
        technique = VectorCodebook(bits=4, length=4, stages=3, rounds=rounds)
        return output_error(technique.encode(given_, layer, seen), given_, seen).sum()

    assert error(3) < 0.97 * error(1) < 0.95 * error(0)


def test_weights_that_take_four_values_come_back() -> None:
    layer, given_ = linear(8, 16), torch.randint(0, 4, (8, 16)).float() - 1.5
    for seen in (None, evidence(layer)):
        coding = ScalarCodebook(bits=2, scaled=False).encode(given_, layer, seen)
        assert torch.equal(coding.decode(), given_)
        assert coding.size_bytes == 8 * 16 // 4 + 4 * 2


def test_rows_of_different_size_share_words_through_their_scales() -> None:
    layer, given_ = linear(4, 64), weight(4, 64) * torch.tensor([[1.0], [10.0], [0.1], [100.0]])

    def relative(technique: ScalarCodebook) -> torch.Tensor:
        return (technique.encode(given_, layer).decode() - given_).square().sum(1) / given_.square().sum(1)

    assert relative(ScalarCodebook(bits=4)).max() < 0.03
    assert relative(ScalarCodebook(bits=4, scaled=False))[2] > 0.3


@pytest.mark.parametrize(
    "kind", [ScalarCodebook(bits=2), VectorCodebook(bits=3, length=4, stages=2)], ids=["values", "words"]
)
@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_rows_of_zeros_stay_zero_and_take_nothing_from_the_others(kind, size: float) -> None:
    layer, given_ = linear(32, 64), size * weight(32, 64)
    seen = evidence(layer, vectors=300)
    given_[3:5] = 0
    found = kind.encode(given_, layer, seen).decode()
    assert found[3:5].abs().max() < 1e-6 * given_.abs().max()
    alive = [row for row in range(32) if row not in (3, 4)]
    few = replace(seen, layer=linear(30, 64))
    alone = output_error(kind.encode(given_[alive], few.layer, few), given_[alive], few).sum()
    change = (found - given_)[alive].double()
    assert ((change @ seen.A[0]) * change).sum() < 1.2 * alone


def test_outputs_with_large_gradients_are_nearer() -> None:
    layer, given_ = linear(4, 64), weight(4, 64)
    blind = evidence(layer)
    seen = replace(blind, gradient_sum=torch.diag(torch.tensor([1000.0, 1.0, 1.0, 1.0])).double()[None])
    technique = ScalarCodebook(bits=1, scaled=False)
    first, second = (output_error(technique.encode(given_, layer, e), given_, blind)[0, 0] for e in (seen, blind))
    assert first < 0.9 * second


def test_rows_of_an_embedding_that_are_looked_up_often_are_nearest() -> None:
    layer = Layer(parameter="embed.weight", kind="embedding", shape=(8, 64))
    given_ = weight(8, 64)
    coding = ScalarCodebook(bits=2, scaled=False).encode(given_, layer, counted(layer, 1000, *[1] * 7))
    errors = (coding.decode() - given_).square().sum(1)
    blind = (ScalarCodebook(bits=2, scaled=False).encode(given_, layer).decode() - given_).square().sum(1)
    assert errors[0] < blind[0]


@each_technique
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_constant_weights_come_back(technique, value: float) -> None:
    layer = linear(8, 24)
    for seen in (None, evidence(layer)):
        found = technique.encode(torch.full((8, 24), value), layer, seen).decode()
        assert (found - value).abs().max() < 1e-3


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1e6])
def test_weights_of_any_size_come_near(size: float) -> None:
    layer, given_ = linear(16, 32), weight(16, 32)
    for technique in (ScalarCodebook(bits=4), ScalarCodebook(bits=4, scaled=False), VectorCodebook(bits=4, length=2)):
        found = technique.encode(given_ * size, layer, evidence(layer)).decode() / size
        assert (found - given_).square().sum() < 0.3 * given_.square().sum()


def test_a_codebook_larger_than_the_layer_is_refused_with_the_figures() -> None:
    expected = (
        r"^quantize\.VectorCodebook\(fc\.weight\)\.bits: got 8; expected a codebook smaller than the layer: "
        r"4,096 bytes of words, 4,144 with codes, for 512\. Use fewer bits"
    )
    with pytest.raises(UsageError, match=expected):
        VectorCodebook(bits=8, length=8).encode(weight(16, 8), linear(16, 8))


@each_technique
def test_a_weight_that_is_not_finite_is_refused_by_name(technique) -> None:
    given_ = weight(8, 24)
    given_[1, 2] = torch.nan
    with pytest.raises(ModelError, match=r"fc\.weight: holds NaN"):
        technique.encode(given_, linear(8, 24), evidence(linear(8, 24)))


@each_technique
def test_the_same_weight_gives_the_same_edit_and_stays_as_it_is(technique) -> None:
    layer, given_ = linear(8, 24), weight(8, 24)
    seen, kept = evidence(layer), given_.clone()
    state = torch.get_rng_state()
    assert technique.edit(given_, layer, seen) == technique.edit(given_, layer, seen)
    assert torch.equal(given_, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ScalarCodebook, {"bits": 0}),
        (ScalarCodebook, {"bits": 9}),
        (ScalarCodebook, {"rows": 0}),
        (ScalarCodebook, {"damping": 0.0}),
        (ScalarCodebook, {"rounds": -1}),
        (VectorCodebook, {"bits": 9}),
        (VectorCodebook, {"length": 0}),
        (VectorCodebook, {"stages": 9}),
        (VectorCodebook, {"damping": -1.0}),
        (VectorCodebook, {"rounds": -1}),
    ],
)
def test_settings_outside_their_domain_are_refused(kind, wrong) -> None:
    with pytest.raises(UsageError, match=rf"^quantize\.{kind.__name__}\.{next(iter(wrong))}: got"):
        kind(**wrong)
