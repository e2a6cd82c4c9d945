import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graph.axes.patterns import analysed
from laconic.core.program import Program
from laconic.core.rewritten import Rewritten
from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import copy_of
from laconic.graph.folding import fold, lost_in_training


class Noisy(nn.Module):
    """Dropout as a module and as a function, batch statistics, a layer used twice, a parametrised one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.hidden = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.inner = Inner()
        self.embed = nn.Embedding(5, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        x = self.drop(self.act(self.norm(self.conv(x)))).mean((2, 3))
        x = self.act(self.hidden(self.act(self.hidden(x))))
        return self.out(self.inner(x) + self.embed(ids) * torch.tensor([1.5]))


class Inner(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5, self.training)


def inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 4, 4])


def refolded(model: nn.Module, args) -> Rewritten:
    module = copy_of(axes(capture(model, args)))
    constants = {}
    for node in module.graph.find_nodes(op="get_attr"):
        if "lifted" in node.target:
            constants[f"own_{node.target}"] = getattr(module, node.target)
            node.target = f"own_{node.target}"
    return Rewritten(model, Program.of(fold(module, model), constants, torch.device("cpu")))


def test_training_is_that_of_the_model_with_its_dropout_statistics_and_gradients() -> None:
    torch.manual_seed(3)
    model, args = Noisy().train(), inputs()
    twin = Noisy().train()
    twin.load_state_dict(model.state_dict())
    again = refolded(twin, args)
    assert again.program.called == {"conv", "norm", "act", "drop", "hidden", "embed", "out"}
    for _ in range(2):
        for network in (model, again):
            torch.manual_seed(7)
            network(*args).square().sum().backward()
    expected = dict(model.named_parameters())
    for name, parameter in again.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=0, atol=0)
    assert torch.equal(model.norm.running_var, again.norm.running_var) and int(again.norm.num_batches_tracked) == 2
    assert torch.equal(again.eval()(*args), model.eval()(*args))
    assert not torch.equal(again.train()(*args), again(*args))


def test_only_the_module_whose_mode_changes_drops() -> None:
    model, args = Noisy().eval(), inputs()
    again = refolded(model, args)
    again.inner.train()
    assert not torch.equal(again(*args), again(*args))


def test_hooks_of_layers_are_heard() -> None:
    model, args = Noisy().eval(), inputs()
    seen = []
    model.out.register_forward_hook(lambda *_: seen.append("out"))
    again = refolded(model, args)
    seen.clear()
    again(*args)
    assert seen == ["out"]


@pytest.mark.parametrize("name", ["depthwise", "low_rank", "transformer_layer", "group_norm", "tied_embedding"])
def test_patterns_compute_the_same_through_its_layers(name: str) -> None:
    model, _, args = analysed(name)
    expected = model.eval()(*args)
    again = refolded(model, args)
    got = again.eval()(*args)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_a_call_that_needs_more_than_the_layer_knows_stays_an_operator() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2, return_indices=True)
            self.back = nn.MaxUnpool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.back(*self.pool(x), output_size=x.shape)

    x = torch.randn(2, 3, 5, 5)
    again = refolded(Sized(), (x,))
    assert again.program.called == frozenset() and torch.equal(again(x), Sized()(x))


def test_checks_of_dtype_are_left_out_so_that_the_graph_can_be_cast() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x).to(self.up.weight.dtype).to(torch.float32)

    again = refolded(Casting(), (torch.randn(2, 3),)).double()
    assert again(torch.randn(2, 3).double()).dtype == torch.float32


def test_what_is_lost_in_training_is_named() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)
            self.rnn = nn.LSTM(4, 4, 2, dropout=0.2, batch_first=True)
            self.register_buffer("mean", torch.zeros(4))
            self.register_buffer("var", torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.rnn(self.attention(x, x, x)[0])[0]
            return functional.batch_norm(x.mT, self.mean, self.var, training=self.training)

    model = Functional().eval()
    module = copy_of(axes(capture(model, (torch.randn(2, 3, 4),))))
    assert set(lost_in_training(fold(module, model), model)) == {"attention", "rnn", ""}
    model, args = Noisy().eval(), inputs()
    assert lost_in_training(fold(copy_of(axes(capture(model, args))), model), model) == ()
