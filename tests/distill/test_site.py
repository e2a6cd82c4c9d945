from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laconic.core.errors import UsageError
from laconic.distill import Site, overhear


class Attention(nn.Module):
    def forward(self, x: Tensor, *, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


class Named(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"hidden": 3 * x, "count": 7}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.attention = Attention()
        self.named = Named()
        self.unused = nn.Linear(2, 2)
        self.shared = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.attention(self.relu(self.first(x)), scale=torch.tensor(5.0))
        return self.shared(self.shared(self.named(hidden)["hidden"]))


X = torch.tensor([[1.0, -2.0], [-3.0, 4.0]])


def heard(model: nn.Module, *sites: str) -> tuple[Tensor, ...]:
    return overhear(lambda: model(X), model, [Site.parse(site) for site in sites])[1]


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("text", ["", "layer.3", "fc:input", "attention[1]", "out[hidden_states]", "a.b:input[mask]"])
def test_a_site_reads_back_as_it_was_written(text: str) -> None:
    assert str(Site.parse(text)) == text


@pytest.mark.parametrize("text", ["a[", "a[]", "a:output", "a]b", "a[1][2]"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a module's path such as"):
        Site.parse(text)


def test_outputs_inputs_and_entries_are_heard_in_the_order_of_the_sites() -> None:
    model = Network()
    first = model.first(X)
    relu = first.relu()
    found = heard(
        model, "attention[1]", "first", "attention", "attention:input", "named[hidden]", "attention:input[scale]"
    )
    for ours, expected in zip(found, [relu + 2, first, relu + 1, relu, 3 * (relu + 1), torch.tensor(5.0)], strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(found[1], first), "the ReLU that follows in place must not change it"


def test_the_whole_model_has_the_empty_path() -> None:
    model = Network()
    assert torch.equal(heard(model, "")[0], model(X))


def test_attributes_of_an_output_are_found() -> None:
    assert Site.parse("encoder[hidden]").read(SimpleNamespace(hidden=X)) is X


def test_the_answer_is_the_call_s_and_gradients_flow_through_what_is_heard() -> None:
    model = Network()
    answer, (hidden,) = overhear(lambda: model(X), model, [Site.parse("first")])
    assert torch.equal(answer, model(X))
    hidden.sum().backward()
    assert torch.equal(model.first.weight.grad, X.sum(0).expand(3, 2))


def test_no_hook_stays_after_success_failure_and_an_unknown_path() -> None:
    model = Network()
    heard(model, "first", "attention:input")
    with pytest.raises(ZeroDivisionError):
        overhear(lambda: 1 / 0, model, [Site.parse("first")])
    with pytest.raises(UsageError):
        heard(model, "first", "nowhere")
    with pytest.raises(UsageError):
        heard(model, "named")
    assert hooks(model) == 0


def test_hooks_of_the_user_s_stay() -> None:
    model, calls = Network(), []
    model.first.register_forward_hook(lambda m, i, o: calls.append(o))
    heard(model, "first")
    model(X)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("site", "named"),
    [
        ("unused", "'unused' is never called in one forward pass; expected exactly one call"),
        ("shared", "'shared' is called 2 times in one forward pass"),
        ("frist", "Match: got 'frist'; expected the path of a module of Network. Did you mean 'first'"),
        ("zzz", r"See model\.named_modules\(\)"),
        ("named", "what is read at named: got 'dict'; expected a tensor.*as in 'named\\[1\\]'"),
        ("named[count]", "got 'int'; expected a tensor"),
        ("named[other]", "got 'NoneType'"),
        ("attention[2]", "got 'NoneType'"),
    ],
)
def test_a_site_that_gives_no_tensor_once_is_one_clear_line(site: str, named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        heard(Network(), site)
    assert "\n" not in str(caught.value)


def test_layers_of_pytorch_s_transformer_are_heard_in_eval_mode_too_where_it_takes_a_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=8, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x, sites = (
        torch.randn(2, 3, 4),
        [Site.parse(site) for site in ("layers.1", "layers.0.linear1", "layers.1.self_attn")],
    )
    trained = overhear(lambda: model.train()(x), model, sites)[1]
    with torch.no_grad():
        evaluated = overhear(lambda: model.eval()(x), model, sites)[1]
    for one, other in zip(trained, evaluated, strict=True):
        torch.testing.assert_close(one, other)
