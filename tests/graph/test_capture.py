import copy
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.core.errors import ModelError
from laconic.graph import capture


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.body = nn.Linear(4, 4)
        self.again = self.body
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(4), persistent=False)

    def forward(self, x):
        return functional.linear(self.again(self.body(self.embed(x))) * self.scale, self.head.weight)


class AnswersWithDataclass(nn.Module):
    def forward(self, x):
        return Answer(x + 1, x)


class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class PicksByValue(nn.Module):
    def forward(self, x):
        return x * [1.0, 2.0][int(x.sum()) % 2]


class FixedBatch(nn.Module):
    def forward(self, x):
        return x.view(3, 2, 2)


class Named(nn.Module):
    def forward(self, x, *, extra, factor=2):
        return x * factor + extra["shift"]


def run(graph, *args, **kwargs):
    return graph.program.module()(*args, **kwargs)


def test_captured_program_computes_what_the_model_computes_in_eval_mode():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    x = torch.randn(6, 4)
    graph = capture(model, (x,))
    torch.testing.assert_close(run(graph, x), copy.deepcopy(model).eval()(x))


def test_model_is_left_untouched():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8).eval(), nn.Dropout(0.5)).train()
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    capture(model, (torch.randn(6, 4),))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_batch_is_dynamic_where_the_model_allows_it():
    graph = capture(nn.Linear(4, 2), (torch.randn(6, 4),))
    assert graph.dynamic_batch
    assert run(graph, torch.randn(3, 4)).shape == (3, 2)


def test_single_example_still_gives_a_dynamic_batch():
    assert capture(nn.Linear(4, 2), (torch.randn(1, 4),)).dynamic_batch


def test_batch_written_into_the_code_is_said_to_be_fixed():
    graph = capture(FixedBatch(), (torch.randn(3, 4),))
    assert not graph.dynamic_batch
    assert "batch size fixed at 3" in str(graph)


def test_batch_is_fixed_on_request():
    assert not capture(nn.Linear(4, 2), (torch.randn(6, 4),), dynamic_batch=False).dynamic_batch


def test_named_and_nested_inputs_are_captured():
    x, extra = torch.randn(3, 4), {"shift": torch.randn(3, 4)}
    graph = capture(Named(), (x,), {"extra": extra, "factor": 3})
    assert graph.dynamic_batch
    torch.testing.assert_close(run(graph, x, extra=extra, factor=3), x * 3 + extra["shift"])


def test_ties_and_modules_registered_twice_have_one_canonical_name():
    graph = capture(Tied(), (torch.randint(10, (3, 5)),))
    assert graph.aliases["embed.weight"] == ("embed.weight", "head.weight")
    assert graph.aliases["body.bias"] == ("body.bias", "again.bias")
    assert set(graph.sources.values()) == {"embed.weight", "body.weight", "body.bias", "scale"}
    assert set(graph.parameters) == {"embed.weight", "body.weight", "body.bias"}


def test_tensors_are_the_users_own():
    model = Tied()
    graph = capture(model, (torch.randint(10, (3, 5)),))
    assert graph.tensors["embed.weight"] is model.head.weight
    assert graph.tensors["scale"] is model.scale


def test_output_of_an_unregistered_dataclass_is_captured():
    x = torch.randn(3, 4)
    assert torch.equal(run(capture(AnswersWithDataclass(), (x,)), x).logits, x + 1)


def test_frozen_transformer_layer_is_captured_operator_by_operator():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).requires_grad_(False)
    targets = {str(node.target) for node in capture(layer, (torch.randn(3, 5, 8),)).nodes}
    assert "aten.scaled_dot_product_attention.default" in targets


@pytest.mark.parametrize(
    ("model", "line", "mend"),
    [(Branches(), "if x.sum() > 0:", "torch.where"), (PicksByValue(), "int(x.sum())", "outside forward")],
)
def test_error_shows_the_offending_line_and_what_to_change(model, line, mend):
    with pytest.raises(ModelError) as caught:
        capture(model, (torch.ones(3, 4),))
    text = str(caught.value)
    assert "test_capture.py:" in text and line in text and mend in text and "\n" not in text


class FillsIn(nn.Module):
    """Makes up a mask that it is not given, but not where it is traced, as some of Hugging Face's models."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x, mask=None):
        if mask is None and not torch.compiler.is_compiling():
            mask = torch.ones_like(x)
        return self.out(x * mask[:, :4])


def test_an_input_that_is_filled_in_only_where_nothing_is_traced_is_asked_for():
    with pytest.raises(ModelError, match=r"mask\[:, :4\].*Pass the optional inputs that it fills in by itself"):
        capture(FillsIn(), (torch.ones(3, 4),))
    assert capture(FillsIn(), (torch.ones(3, 4),), {"mask": torch.ones(3, 4)}).name == "FillsIn"


def test_inputs_that_do_not_fit_are_told_from_a_model_that_cannot_be_exported(capfd):
    with pytest.raises(ModelError, match=r"fails on the example inputs.*Pass inputs that the model accepts"):
        capture(nn.Linear(3, 2), (torch.zeros(4, 5),))
    assert capfd.readouterr() == ("", "")


def test_mode_is_restored_after_a_failure():
    model = Branches().train()
    with pytest.raises(ModelError):
        capture(model, (torch.ones(3, 4),))
    assert model.training


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(2, 3, batch_first=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.recurrent(packed)[1]


def test_packed_sequences_are_refused_with_what_to_do_instead():
    with pytest.raises(ModelError, match=r"packed sequences\. Run the layer on padded sequences, and take each"):
        capture(Packed(), (torch.randn(2, 4, 2), torch.tensor([4, 2])))


class _Remembering(nn.Module):
    """Keeps something for the next token, as decoders of Hugging Face do unless told not to."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(use_cache=True)
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return {"logits": self.linear(x), "past_key_values": object() if self.config.use_cache else None}


def test_what_a_decoder_keeps_for_the_next_token_is_no_part_of_the_graph():
    model, x = _Remembering(), torch.randn(4, 3)
    graph = capture(model, (x,))
    torch.testing.assert_close(graph.module()(x)["logits"], model.linear(x))
    assert model.config.use_cache
    with pytest.raises(ModelError):
        capture(model, (torch.randn(4, 5),))
    assert model.config.use_cache
