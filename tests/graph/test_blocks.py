import pytest
import torch
from torch import nn

from graph.shallow import IDS, IMAGES, Basic, ConvNeXtBlock, GroupedDecoder, PostNorm, ResNet, Transformer, Twice
from laconic.graph import capture
from laconic.graph.blocks import blocks, freed
from laconic.graph.calls import module_calls


def names(model, *inputs):
    return [(block.name, block.kind) for block in blocks(capture(model.eval(), inputs))]


def test_pre_norm_transformer_has_two_branches_and_a_whole_layer_each():
    found = names(Transformer(), IDS)
    assert found[:3] == [
        ("layers.0.(norm1, attention)", "branch"),
        ("layers.0.(norm2, mlp)", "branch"),
        ("layers.0", "layer"),
    ]
    assert len(found) == 6


def test_post_norm_branch_goes_with_or_without_its_normalisation():
    found = names(Transformer(PostNorm), IDS)
    assert ("layers.1.attention", "branch") in found and ("layers.1.(attention, norm1)", "branch") in found
    # The embeddings do not come out of a normalisation, so the first one has to stay.
    assert ("layers.0.(attention, norm1)", "branch") not in found and ("layers.0", "layer") in found


def test_either_side_of_a_projected_shortcut_can_go():
    found = names(ResNet(), IMAGES)
    assert ("body.2.project", "branch") in found and ("body.2.(conv1, bn1, conv2, bn2)", "branch") in found
    assert [name for name, _ in found if name.startswith("body.0")] == ["body.0.(conv1, bn1, conv2, bn2)"]


def test_savings_are_those_of_the_layers_that_are_gone():
    block = blocks(capture(ResNet().eval(), (IMAGES,)))[0]
    assert block.macs == 2 * 8 * 8 * 9 * 64 and block.parameter_count == 2 * 8 * 8 * 9 + 4 * 8
    assert set(block.parameters) == {
        f"body.0.{name}"
        for name in ("conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias")
    }


def test_bare_parameters_of_a_branch_go_with_it():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), ConvNeXtBlock(8), nn.Conv2d(8, 2, 1))
    (block,) = blocks(capture(model.eval(), (IMAGES,)))
    assert block.name == "1" and "1.scale" in block.parameters


def test_each_call_of_a_shared_layer_is_a_block_and_frees_no_parameter():
    graph = capture(Twice(), (torch.randn(3, 4),))
    first, second = blocks(graph)
    assert (first.name, second.name) == ("layer", "layer#2")
    assert first.parameters == second.parameters == () and first.macs == second.macs == 16
    assert freed(graph, {b.end: b.start for b in (first, second)}) == ("layer.weight", "layer.bias")


def test_branches_without_modules_of_their_own_are_named_after_their_layers():
    model = nn.Sequential(GroupedDecoder(), nn.Linear(16, 3))
    assert names(model, torch.randn(2, 5, 16)) == [("0.(norm, q, k, v, o)", "branch"), ("0.(gate, up, down)", "branch")]


def test_layers_of_a_plain_stack_are_found_where_shapes_agree():
    def layer(i, o):
        return nn.Sequential(nn.Linear(i, o), nn.ReLU())

    model = nn.Sequential(layer(4, 8), layer(8, 8), layer(8, 8), layer(8, 8), nn.Linear(8, 2))
    assert names(model, torch.randn(3, 4)) == [("1", "layer"), ("2", "layer"), ("3", "layer")]


class Combined(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(9, 4), nn.Linear(3, 4)
        self.gate, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, ids, place):
        x = self.words(ids) + self.places(place)
        x = x * torch.sigmoid(self.gate(x))
        y = self.gate(x)
        return self.head(x + y), y


def test_sums_of_different_sources_and_results_used_elsewhere_are_no_branches():
    assert names(Combined(), torch.arange(2), torch.randn(2, 3)) == []


def test_a_layer_that_is_most_of_the_model_is_not_a_part_of_it():
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 2))
    assert names(model, torch.randn(2, 8)) == []


def test_calls_of_modules_know_their_depth_and_repetition():
    calls = {call.path: call for call in module_calls(capture(Transformer().eval(), (IDS,)))}
    assert calls["layers.0"].depth == 1 and calls["layers.0"].composite
    assert calls["layers.0.mlp.0"].depth == 3 and not calls["layers.0.mlp.0"].composite
    twice = [call for call in module_calls(capture(Twice(), (torch.randn(3, 4),))) if call.path == "layer"]
    assert len(twice) == 2 and all(call.repeated for call in twice)


@pytest.mark.parametrize("stride", [1, 2])
def test_padded_shortcut_counts_as_the_other_operand(stride):
    class Padded(Basic):
        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 2, 2)))

    model = nn.Sequential(Padded(3, 7, stride), nn.Conv2d(7, 2, 1))
    assert ("0.(conv1, bn1, conv2, bn2)", "branch") in names(model, IMAGES)
