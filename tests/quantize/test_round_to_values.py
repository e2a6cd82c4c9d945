"""Weights in small number formats."""

from itertools import product
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.calibrate import Layer
from laconic.core.errors import ModelError, UsageError
from laconic.core.formats import BINARY, FP4_E2M1, FP8_E4M3, KNOWN, NF4, TERNARY, Format, power_of_two
from laconic.quantize import MXFP4, MXFP6, MXFP8, MXINT8, RoundToValues
from quantize.layers import counted, evidence, linear, output_error, weight


@given(
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 12),
    vectors=st.integers(1, 30),
    format_=st.sampled_from(KNOWN),
    scale=st.sampled_from(["float", "power_of_two"]),
    per=st.sampled_from(["tensor", "channel", 4]),
    seed=st.integers(0, 99),
)
def test_no_channel_changes_its_output_more_than_rounding_to_nearest_does(
    outputs, inputs, vectors, format_, scale, per, seed
) -> None:
    layer, given_ = linear(outputs, inputs), weight(outputs, inputs, seed=seed)
    seen = evidence(layer, vectors, seed)
    mine, plain = (
        output_error(
            RoundToValues(format=format_, per=per, scale=scale, compensate=c).encode(given_, layer, seen), given_, seen
        )
        for c in (True, False)
    )
    if per == "tensor":
        mine, plain = mine.sum(), plain.sum()
    # Errors are compared in float32, where those of the channel's weights themselves are the yardstick.
    slack = 1e-5 * float(torch.einsum("oi,ij,oj->o", given_.double(), seen.A[0], given_.double()).max())
    assert (mine <= plain * (1 + 1e-4) + slack).all()


@pytest.mark.parametrize("format_", [NF4, FP4_E2M1, power_of_two(4), TERNARY, BINARY, FP8_E4M3], ids=str)
@pytest.mark.parametrize("per", ["tensor", "channel", 8])
def test_correlated_inputs_take_most_of_the_error(format_: Format, per) -> None:
    layer, given_ = linear(16, 40), weight(16, 40)
    seen = evidence(layer, vectors=300)
    mine, plain = (
        output_error(RoundToValues(format=format_, per=per, compensate=c).encode(given_, layer, seen), given_, seen)
        for c in (True, False)
    )
    assert mine.sum() < 0.75 * plain.sum()


def test_the_scale_of_binary_weights_is_the_mean_of_their_sizes() -> None:
    # Rastegari et al., equation 6: alpha = |w|_1 / n.
    given_ = torch.tensor([[0.5, -1.0, 0.25, -0.25], [3.0, 1.0, 1.0, -3.0]])
    coding = RoundToValues(format=BINARY).encode(given_, linear(2, 4))
    assert coding.decode().tolist() == [[0.5, -0.5, 0.5, -0.5], [2.0, 2.0, 2.0, -2.0]]


def test_ternary_weights_are_as_near_as_any_ternary_weights_are() -> None:
    given_ = weight(20, 7)
    coding = RoundToValues(format=TERNARY).encode(given_, linear(20, 7))
    codes = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=7)))
    gains = (given_ @ codes.T).square() / codes.square().sum(1).clamp_min(1)
    best = given_.square().sum(1) - gains.amax(1)
    mine = (coding.decode() - given_).square().sum(1)
    assert (mine <= best * 1.05 + 1e-6).all()
    assert mine.sum() <= best.sum() * 1.005


def test_a_hand_worked_block_of_mxfp4() -> None:
    # The largest is 6 at a scale of 1; with 1/2 it would be cut to 3, with 2 the others would be coarser.
    given_ = torch.zeros(1, 32)
    given_[0, :4] = torch.tensor([6.0, 1.4, -0.6, 3.2])
    coding = MXFP4.encode(given_, linear(1, 32))
    assert coding.scale.tolist() == [127]
    assert coding.decode()[0, :5].tolist() == [6.0, 1.5, -0.5, 3.0, 0.0]
    assert coding.size_bytes == 16 + 1


@pytest.mark.parametrize(("technique", "bits"), [(MXFP4, 4), (MXFP6, 6), (MXFP8, 8), (MXINT8, 8)])
def test_blocks_of_32_share_one_byte_of_scale(technique: RoundToValues, bits: int) -> None:
    coding = technique.encode(weight(8, 128), linear(8, 128))
    assert coding.size_bytes == 8 * 128 * bits // 8 + 8 * 4
    exponents = coding.steps.log2()
    assert torch.equal(exponents, exponents.round())


def test_scales_take_two_bytes_where_that_is_harmless_and_four_where_it_is_not() -> None:
    layer, technique = linear(4, 16), RoundToValues(format=NF4)
    for size, dtype in ((1.0, torch.float16), (1e-6, torch.float32), (1e6, torch.float32)):
        coding = technique.encode(weight(4, 16) * size, layer)
        assert coding.scale.dtype == dtype
        relative = (coding.decode() / size - weight(4, 16)).square().sum() / weight(4, 16).square().sum()
        assert relative < 0.02


def test_a_group_that_does_not_divide_is_padded_and_said() -> None:
    coding = RoundToValues(format=NF4, per=6).encode(weight(3, 8), linear(3, 8), evidence(linear(3, 8)))
    assert (coding.blocks.count, str(coding)) == (6, "nf4 values per group of 6 (a channel's last one holds 2, padded)")
    assert coding.decode().shape == (3, 8)


@pytest.mark.parametrize("technique", [MXFP4, RoundToValues(format=NF4), RoundToValues(format=TERNARY)], ids=str)
def test_rows_of_zeros_stay_zero_and_constant_rows_come_back(technique: RoundToValues) -> None:
    given_ = torch.zeros(3, 32)
    given_[1] = 0.5
    for seen in (None, evidence(linear(3, 32))):
        found = technique.encode(given_, linear(3, 32), seen).decode()
        assert (found[[0, 2]] == 0).all()
        assert (found[1] - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("scale", ["float", "power_of_two"])
def test_a_row_of_zeros_in_a_format_without_zero_becomes_next_to_nothing(
    scale: Literal["float", "power_of_two"],
) -> None:
    given_, technique = torch.randn(3, 8), RoundToValues(format=BINARY, scale=scale)
    given_[1] = 0
    for seen in (evidence(linear(3, 8)), None):
        found = technique.encode(given_, linear(3, 8), seen).decode()
        assert float(found[1].abs().max()) < 1e-22
        assert float((found - given_).norm()) < float(given_.norm())


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20])
def test_weights_of_any_size_give_finite_ones(size: float) -> None:
    layer = linear(4, 8)
    for technique in (RoundToValues(format=FP8_E4M3), MXFP4):
        assert technique.encode(weight(4, 8) * size, layer, evidence(layer)).decode().isfinite().all()


def test_rows_of_an_embedding_have_scales_of_their_own() -> None:
    layer = Layer(parameter="embed.weight", kind="embedding", shape=(3, 8))
    given_ = weight(3, 8) * torch.tensor([[1.0], [100.0], [0.01]])
    coding = RoundToValues(format=NF4, per=4).encode(given_, layer, counted(layer, 5, 0, 1))
    assert coding.blocks.count == 6
    assert ((coding.decode() - given_).square().sum(1) < 0.05 * given_.square().sum(1)).all()


def test_a_format_with_values_on_one_side_only_is_welcome() -> None:
    coding = RoundToValues(format=Format("above", (0.0, 1.0, 2.0))).encode(weight(2, 8), linear(2, 8))
    assert (coding.decode() >= 0).all()


def test_the_same_weight_gives_the_same_edit_and_stays_as_it_is() -> None:
    layer, given_ = linear(6, 20), weight(6, 20)
    seen, kept = evidence(layer), given_.clone()
    technique = RoundToValues(format=NF4, per=7)
    assert technique.edit(given_, layer, seen) == technique.edit(given_, layer, seen)
    assert torch.equal(given_, kept)


def test_a_weight_that_is_not_finite_is_refused_by_name() -> None:
    given_ = weight(4, 6)
    given_[1, 2] = torch.inf
    with pytest.raises(ModelError, match=r"fc\.weight: holds NaN"):
        RoundToValues().encode(given_, linear(4, 6), evidence(linear(4, 6)))


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [({"scale": "half"}, "scale"), ({"per": 0}, "per"), ({"damping": 0.0}, "damping"), ({"rounds": -1}, "rounds")],
)
def test_settings_outside_their_domain_are_refused(wrong, setting) -> None:
    with pytest.raises(UsageError, match=rf"RoundToValues\.{setting}: got"):
        RoundToValues(**wrong)
