"""Every pattern against the oracle: zeroed original equals cut model, for each axis alone and for all together."""

import pytest
import torch

from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error

from .patterns import PATTERNS, analysed

TOLERANCE = 1e4 * torch.finfo(torch.float64).eps

# size and kind of every axis that is there to be found
EXPECTED = {
    "plain_cnn": [(8, "channels"), (6, "channels"), (5, "neurons")],
    "padded_shortcut": [(8, "residual stream"), (6, "channels"), (4, "residual stream"), (4, "residual stream")],
    "depthwise": [(8, "channels"), (4, "channels"), (2, "channels")],
    "grouped": [(4, "channels"), (3, "channels"), (2, "channels")],
    "channel_shuffle": [(3, "channels"), (4, "channels")],
    "dense_net": [(6, "channels"), (4, "channels"), (4, "channels")],
    "u_net": [(6, "channels"), (8, "channels"), (4, "channels")],
    "transformer_layer": [(12, "residual stream"), (3, "heads"), (4, "head width"), (10, "neurons")],
    "fused_qkv": [(3, "heads"), (4, "head width")],
    "grouped_query_attention": [(2, "heads"), (3, "heads"), (4, "head width"), (4, "head width")],
    "native_grouped_query_attention": [(2, "heads"), (3, "heads"), (4, "head width"), (4, "head width")],
    "rotary_attention": [(2, "heads"), (3, "head width"), (6, "head width")],
    "gated_linear_unit": [(8, "neurons"), (10, "neurons")],
    "tied_embedding": [(8, "residual stream"), (12, "neurons")],
    "lstm": [(6, "hidden state")],
    "gru": [(6, "hidden state"), (5, "hidden state")],
    "cells": [(6, "hidden state"), (5, "hidden state")],
    "pixel_shuffle": [(4, "channels"), (6, "channels")],
    "transposed": [(2, "channels"), (4, "channels"), (6, "channels")],
    "group_norm": [(3, "channels"), (4, "channels")],
    "module_used_twice": [(6, "neurons")],
    "bare_parameters": [(6, "neurons"), (5, "neurons")],
    "residual_with_the_input": [(7, "neurons")],
    "squeeze_and_excite": [(8, "channels"), (4, "channels")],
    "normalised_weights": [(6, "channels")],
    "class_token": [(8, "residual stream")],
    "mixture_of_experts": [(4, "neurons"), (8, "neurons")],
    "low_rank": [(3, "neurons"), (8, "neurons")],
}


def half(axis):
    return torch.randperm(axis.size)[: max(1, axis.size // 2)].sort().values


@pytest.mark.parametrize("name", PATTERNS)
def test_zeroed_original_equals_cut_model(name):
    _, found, inputs = analysed(name)
    keeps = {axis: half(axis) for axis in found}
    assert keeps
    for keep in [*({axis: kept} for axis, kept in keeps.items()), keeps]:
        error = cut_error(found, keep, cut(found, keep), inputs, {})
        assert error < TOLERANCE, [axis.name for axis in keep]


@pytest.mark.parametrize("name", EXPECTED)
def test_axes_are_those_that_are_there(name):
    _, found, _ = analysed(name)
    assert sorted((a.size, a.kind) for a in found) == sorted(EXPECTED[name])
