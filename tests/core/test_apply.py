import copy
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from core.samples import (
    GRID,
    TOKENS,
    asymmetric,
    cut_conv,
    every_edit,
    images,
    low_rank,
    net,
    symmetric,
    tied,
)
from laconic.core.activation_grids import ActivationGrid
from laconic.core.apply import apply, free_parameter, refit, settle
from laconic.core.edit import Cut, Edit, Recode, RoundActivation, Slice, Swap, Tie
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.spec import Identity
from laconic.core.state import load_state, save_state


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_state(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def recode(model: nn.Module, name: str, bits: int = 3) -> Recode:
    return Recode(name, symmetric(model.get_parameter(name), bits))


# --- the original


@pytest.mark.parametrize("trainable", [False, True])
def test_the_original_is_left_untouched(trainable: bool) -> None:
    model = net()
    model.fc1.weight.requires_grad_(False)
    model.norm.train()
    model.conv.register_forward_hook(lambda module, args, output: output)
    model(images()).sum().backward()
    before, grads = (
        state(model),
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
    )
    objects = {name: id(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    modes = {name: module.training for name, module in model.named_modules()}
    types = {name: type(module) for name, module in model.named_modules()}
    hooks = {
        name: len(module._forward_hooks) + len(module._forward_pre_hooks) for name, module in model.named_modules()
    }
    apply(model, every_edit(model), trainable=trainable)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert {name: id(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())} == objects
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: type(module) for name, module in model.named_modules()} == types
    assert hooks == {n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in model.named_modules()}
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["fc1.weight"]
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (grads[name] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, grads[name])


def test_the_empty_plan_gives_an_equal_copy() -> None:
    model = net()
    changed = apply(model, Plan())
    assert changed is not model
    assert same_state(changed, model)
    assert torch.equal(changed(images()), model(images()))


@pytest.mark.parametrize("training", [True, False])
def test_the_copy_is_in_the_mode_of_the_original(training: bool) -> None:
    model = net().train(training)
    changed = apply(model, every_edit(model))
    assert all(module.training == training for module in changed.modules())


def test_dtype_and_freezing_survive_every_edit() -> None:
    model = net().double()
    model.conv.weight.requires_grad_(False)
    changed = apply(model, every_edit(model))
    assert {p.dtype for p in changed.parameters()} == {torch.float64}
    assert [name for name, p in changed.named_parameters() if not p.requires_grad] == ["conv.weight"]


def test_applying_draws_no_random_numbers() -> None:
    model = net()
    plan, before = every_edit(model), torch.get_rng_state()
    apply(model, plan, trainable=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_cannot_be_copied_is_told_by_its_class() -> None:
    model = net()
    model.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"Net: cannot be copied \(cannot pickle .* Make it work with copy.deepcopy"):
        apply(model, Plan())


def test_a_model_that_holds_what_it_computed_from_its_weights_is_copied() -> None:
    model = net()
    model.kept, model.listed = model.fc1.weight * 2, [model.fc1.weight * 3]
    assert torch.equal(apply(model, Plan()).kept, model.kept)


# --- recoding


def test_a_recoded_parameter_holds_its_decoded_value() -> None:
    model = net()
    edit = recode(model, "fc1.weight")
    changed = apply(model, Plan.of([edit]))
    assert torch.equal(changed.fc1.weight, edit.coding.decode())
    assert isinstance(changed.fc1.weight, nn.Parameter)
    assert changed.fc1.weight.requires_grad


def test_of_two_recodings_the_last_counts() -> None:
    model = net()
    one, two = recode(model, "fc1.weight", 2), recode(model, "fc1.weight", 5)
    for trainable in (False, True):
        both = apply(model, Plan.of([one, two]), trainable=trainable)
        assert torch.equal(both.fc1.weight, two.coding.decode())


def test_a_bare_parameter_and_a_buffer_can_be_recoded() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(3))
            self.register_buffer("shift", torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale + self.shift

    model = Bare()
    plan = Plan.of([Recode(name, symmetric(getattr(model, name), 4, None)) for name in ("scale", "shift")])
    for trainable in (False, True):
        changed = apply(model, plan, trainable=trainable)
        expected = plan.recodes[0].coding.decode() + plan.recodes[1].coding.decode()
        assert torch.equal(changed(torch.ones(3)), expected)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("name", ["embed.weight", "out.weight"])
def test_every_place_of_a_tied_parameter_follows(name: str, trainable: bool) -> None:
    model = tied()
    coding = symmetric(model.embed.weight)
    changed = apply(model, Plan.of([Recode(name, coding)]), trainable=trainable)
    assert torch.equal(changed.embed.weight, coding.decode())
    assert torch.equal(changed.out.weight, coding.decode())
    assert len(list(changed.parameters())) == len(list(model.parameters()))
    settled = settle(changed)
    assert settled.embed.weight is settled.out.weight


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("name", ["hidden.weight", "again.weight"])
def test_a_shared_module_follows_under_either_name(name: str, trainable: bool) -> None:
    model = tied()
    changed = apply(model, Plan.of([Recode(name, symmetric(model.hidden.weight))]), trainable=trainable)
    assert changed.again is changed.hidden
    assert torch.equal(changed.again.weight, symmetric(model.hidden.weight).decode())


def test_a_coding_of_another_shape_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"Recode: fc1.weight has shape \[10, 8\], the coding \[8, 10\]; .* another model"
    ):
        apply(net(), Plan.of([Recode("fc1.weight", symmetric(torch.ones(8, 10)))]))


# --- names

WRONG = [
    (Recode("fc1.wieght", symmetric(torch.ones(10, 8))), "no tensor named 'fc1.wieght'. Did you mean .*fc1.weight"),
    (Recode("fc.weight", symmetric(torch.ones(10, 8))), "no tensor named 'fc.weight'. Did you mean .*fc1.weight"),
    (Recode("fc1", symmetric(torch.ones(10, 8))), "no tensor named 'fc1'"),
    (RoundActivation("cnov", "input", GRID), "no module named 'cnov'. Did you mean conv"),
    (Swap("fc3", Identity()), "no module named 'fc3'. Did you mean (fc1 or fc2|fc2 or fc1)"),
    (Swap("zzzzzz", Identity()), "no module named 'zzzzzz'.$"),
    (Cut(axis="a", slices=(Slice("conv.weigth", 0, torch.tensor([0])),)), "'conv.weigth'. Did you mean conv.weight"),
    (
        Cut(axis="a", slices=(), attributes=(("convv", "out_channels", 1),)),
        "no module named 'convv'. Did you mean conv",
    ),
]


@pytest.mark.parametrize(("edit", "message"), WRONG, ids=lambda value: str(value))
def test_a_name_that_does_not_exist_is_refused_with_the_nearest(edit: Edit, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply(net(), Plan.of([edit]))


@pytest.mark.parametrize(("edit", "_"), WRONG, ids=lambda value: str(value))
@pytest.mark.parametrize("trainable", [False, True])
def test_without_strict_such_an_edit_is_left_out_and_the_others_are_done(edit: Edit, _: str, trainable: bool) -> None:
    model = net()
    other = recode(model, "fc2.weight")
    changed = apply(model, Plan.of([edit, other]), strict=False, trainable=trainable)
    assert torch.equal(changed.fc2.weight, other.coding.decode())
    assert same_state(settle(changed), apply(model, Plan.of([other])))


def test_without_strict_the_second_name_of_a_shared_module_still_counts() -> None:
    model = tied()
    changed = apply(model, Plan.of([Swap("again", Identity())]), strict=False)
    assert isinstance(changed.again, nn.Identity)


def test_an_unknown_kind_of_edit_is_refused_rather_than_skipped() -> None:
    class Other(Edit):
        kind = "other"
        where = "x"
        config = tensors = from_parts = __str__ = lambda *_: None

    with pytest.raises(UsageError, match="got an edit of kind 'other'"):
        apply(net(), Plan.of([Other()]))


# --- training


def train(model: nn.Module, inputs: Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


CASES: list[tuple[Callable[[], nn.Module], Tensor, list[str]]] = [
    (net, images(), ["conv.weight", "fc1.weight", "fc1.bias", "fc2.weight"]),
    (tied, TOKENS, ["out.weight", "hidden.weight"]),
    (
        lambda: Recurrent(),
        torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)),
        ["lstm.weight_ih_l0", "lstm.weight_hh_l0"],
    ),
]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


@pytest.mark.parametrize(("build", "inputs", "names"), CASES, ids=["net", "tied", "recurrent"])
def test_training_reaches_the_free_weights_and_refit_with_settle_reproduce_it_exactly(
    build: Callable[[], nn.Module], inputs: Tensor, names: list[str]
) -> None:
    model = build()
    plan = Plan.of(Recode(name, asymmetric(model.get_parameter(name), 4, 0)) for name in names)
    trained = apply(model, plan, trainable=True)
    assert torch.equal(trained(inputs), apply(model, plan)(inputs))
    before = {name: free_parameter(trained, name).clone() for name in names}
    train(trained, inputs)
    assert all(not torch.equal(before[name], free_parameter(trained, name)) for name in names)
    trained.eval()
    settled, refitted = settle(trained), refit(plan, trained)
    assert refitted != plan
    assert torch.equal(settled(inputs), trained(inputs))
    for edit in refitted.recodes:
        assert torch.equal(settled.get_parameter(edit.parameter), edit.coding.decode())
    assert same_state(apply(settled, refitted), settled)
    assert settled.state_dict().keys() == model.state_dict().keys()


def test_a_coding_of_what_a_later_swap_took_out_is_left_as_it_was_when_the_rest_is_fitted() -> None:
    model, spec = net(), low_rank(net().fc1, 2)
    before, after = recode(model, "fc1.weight"), Recode("fc1.0.weight", symmetric(spec.first, 8))
    plan = Plan.of([before, Swap("fc1", spec), after])
    trained = apply(model, plan, trainable=True)
    train(trained, images())
    refitted = refit(plan, trained)
    assert refitted.edits[:2] == plan.edits[:2]
    assert torch.equal(refitted.edits[2].coding.decode(), settle(trained).fc1[0].weight)


def test_the_gradient_of_the_free_weight_is_that_of_the_projected_one() -> None:
    model, plan = net(), Plan.of([recode(net(), "fc1.weight")])
    free, fixed = apply(model, plan, trainable=True), apply(model, plan)
    free(images()).sum().backward()
    fixed(images()).sum().backward()
    assert torch.equal(free.fc1.parametrizations.weight.original.grad, fixed.fc1.weight.grad)


def test_training_starts_from_compensated_codes_not_from_the_nearest() -> None:
    model = net()
    nearest = symmetric(model.fc1.weight)
    compensated = nearest.encode(model.fc1.weight.detach() + 0.1)
    changed = apply(model, Plan.of([Recode("fc1.weight", compensated)]), trainable=True)
    assert not torch.equal(nearest.decode(), compensated.decode())
    assert torch.equal(changed.fc1.weight, compensated.decode())


def test_a_frozen_parameter_stays_frozen_under_its_projection() -> None:
    model = net()
    model.fc1.weight.requires_grad_(False)
    changed = apply(model, Plan.of([recode(model, "fc1.weight")]), trainable=True)
    assert not changed.fc1.weight.requires_grad


def test_settling_leaves_the_trained_model_as_it_is() -> None:
    model = net()
    trained = apply(model, Plan.of([recode(model, "fc1.weight"), recode(model, "fc1.bias")]), trainable=True)
    before, modules = trained(images()), [type(module) for module in trained.modules()]
    settle(trained)
    apply(trained, Plan.of([recode(model, "fc1.weight", 5)]))
    assert [type(module) for module in trained.modules()] == modules
    assert torch.equal(trained(images()), before)
    assert torch.equal(settle(trained)(images()), before)


def test_settle_leaves_its_argument_and_parametrizations_of_the_users_alone() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    trained = apply(model, Plan.of([recode(model, "1.weight")]), trainable=True)
    settled = settle(trained)
    assert nn.utils.parametrize.is_parametrized(trained[1])
    assert not nn.utils.parametrize.is_parametrized(settled[1])
    assert nn.utils.parametrize.is_parametrized(settled[0])


def test_the_free_parameter_of_a_plain_one_is_itself() -> None:
    model = net()
    assert torch.equal(free_parameter(model, "fc1.weight"), model.fc1.weight)
    assert not free_parameter(model, "fc1.weight").requires_grad
    with pytest.raises(UsageError, match=r"no tensor named 'fc9.weight'"):
        free_parameter(model, "fc9.weight")


def test_a_trainable_copy_can_be_copied_and_exported() -> None:
    model = net()
    plan = Plan.of([recode(model, "conv.weight"), RoundActivation("fc1", "input", GRID)])
    changed = apply(model, plan, trainable=True)
    assert torch.equal(copy.deepcopy(changed)(images()), changed(images()))
    exported = torch.export.export(changed, (images(),)).module()
    assert torch.allclose(exported(images()), changed(images()), atol=1e-6)


# --- rounding of activations


class Probe(nn.Module):
    """Remembers what its inner module is given, and what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x: Tensor, by_name: bool = False) -> Tensor:
        return self.inner(input=x) if by_name else self.inner(x)


FINE = ActivationGrid(bits=3, scale=0.5, zero_point=3)


@pytest.mark.parametrize("by_name", [False, True])
def test_an_input_is_rounded_before_the_module_sees_it(by_name: bool) -> None:
    model, x = Probe(), torch.randn(5, 3)
    changed = apply(model, Plan.of([RoundActivation("inner", "input", FINE)]))
    assert torch.equal(changed(x, by_name), model(FINE.round(x)))


def test_an_output_is_rounded() -> None:
    model, x = Probe(), torch.randn(5, 3)
    changed = apply(model, Plan.of([RoundActivation("inner", "output", FINE)]))
    assert torch.equal(changed(x), FINE.round(model(x)))


def test_the_whole_models_input_can_be_rounded() -> None:
    model, x = Probe(), torch.randn(5, 3)
    assert torch.equal(apply(model, Plan.of([RoundActivation("", "input", FINE)]))(x), model(FINE.round(x)))


ROUNDINGS = Plan.of([RoundActivation("conv", "input", GRID), RoundActivation("fc1", "output", GRID)])


def test_rounding_survives_deepcopy() -> None:
    changed = apply(net(), ROUNDINGS)
    assert torch.equal(copy.deepcopy(changed)(images()), changed(images()))
    assert not torch.equal(changed(images()), net()(images()))


@pytest.mark.parametrize("strict", [False, True])
def test_rounding_is_one_operator_in_an_exported_graph(strict: bool) -> None:
    changed = apply(net(), ROUNDINGS)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(changed, (images(),), dynamic_shapes=({0: batch},), strict=strict)
    called = [str(node.target) for node in program.graph.nodes if "round_to_grid" in str(node.target)]
    assert len(called) == 2
    more = torch.cat([images(), -images()])
    assert torch.allclose(program.module()(more), changed(more), atol=1e-6)


def test_rounding_lets_gradients_through() -> None:
    changed = apply(net(), ROUNDINGS)
    changed(images()).sum().backward()
    assert changed.conv.weight.grad.abs().sum() > 0


# --- cuts


def test_a_cut_removes_the_slices_everywhere() -> None:
    model = net()
    with torch.no_grad():
        gone = [1, 4, 5]
        model.norm.weight[gone] = model.norm.bias[gone] = 0
    changed = apply(model, Plan.of([cut_conv()]))
    assert changed.conv.weight.shape == (5, 3, 3, 3)
    assert changed.norm.running_var.shape == (5,)
    assert changed.fc1.weight.shape == (10, 5)
    assert (changed.conv.out_channels, changed.norm.num_features, changed.fc1.in_features) == (5, 5, 5)
    assert torch.allclose(changed(images()), model(images()), atol=1e-6)
    assert all(parameter.is_contiguous() for parameter in changed.parameters())
    changed.train()(images()).sum().backward()


def embedding_cut(names: tuple[str, ...]) -> Cut:
    keep = torch.tensor([0, 1, 3, 5])
    whole = (*((name, 1) for name in names), ("hidden.weight", 0), ("hidden.weight", 1), ("hidden.bias", 0))
    norm = ((f"norm.{name}", 0) for name in ("weight", "bias", "running_mean", "running_var"))
    return Cut(axis="width", slices=tuple(Slice(name, dim, keep) for name, dim in (*whole, *norm)))


@pytest.mark.parametrize("names", [("embed.weight",), ("out.weight",), ("embed.weight", "out.weight")])
def test_a_tied_tensor_is_cut_once_whatever_names_it_goes_by(names: tuple[str, ...]) -> None:
    changed = apply(tied(), Plan.of([embedding_cut(names)]))
    assert changed.embed.weight is changed.out.weight
    assert changed.embed.weight.shape == (11, 4)
    assert changed.hidden is changed.again
    assert changed.hidden.weight.shape == (4, 4)
    assert changed(TOKENS).shape == (11, 11)


@pytest.mark.parametrize("keep", [[0, 8], [-1], [100]])
def test_a_cut_that_does_not_fit_is_refused(keep: list[int]) -> None:
    cut = Cut(axis="a", slices=(Slice("conv.weight", 0, torch.tensor(keep)),))
    with pytest.raises(UsageError, match=r"Cut: conv.weight has shape \[8, 3, 3, 3\], .* dimension 0 .* another model"):
        apply(net(), Plan.of([cut]))


def test_a_cut_of_a_dimension_that_does_not_exist_is_refused() -> None:
    cut = Cut(axis="a", slices=(Slice("conv.bias", 1, torch.tensor([0])),))
    with pytest.raises(UsageError, match=r"Cut: conv.bias has shape \[8\], .* dimension 1"):
        apply(net(), Plan.of([cut]))


def test_gates_of_a_recurrent_layer_can_be_cut() -> None:
    model = Recurrent()
    keep = torch.tensor([0, 2])
    gates = torch.cat([keep + 4 * gate for gate in range(4)])
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    slices = (*(Slice(f"lstm.{name}", 0, gates) for name in names), Slice("lstm.weight_hh_l0", 1, keep))
    changed = apply(model, Plan.of([Cut(axis="hidden", slices=slices, attributes=(("lstm", "hidden_size", 2),))]))
    assert changed(torch.randn(2, 5, 3)).shape == (2, 5, 2)


# --- swaps


def test_a_low_rank_pair_is_the_product_of_its_factors() -> None:
    model, spec = net(), low_rank(net().fc1, 3)
    changed = apply(model, Plan.of([Swap("fc1", spec)]))
    by_hand = copy.deepcopy(model)
    by_hand.fc1.weight.data = spec.second @ spec.first
    assert torch.allclose(changed(images()), by_hand(images()), atol=1e-5)
    assert torch.equal(changed.fc1.weight, by_hand.fc1.weight) and changed.fc1.bias is changed.fc1[1].bias
    assert "fc1.weight" not in changed.state_dict()


def test_a_module_used_twice_is_swapped_in_both_places() -> None:
    changed = apply(tied(), Plan.of([Swap("hidden", Identity())]))
    assert changed.hidden is changed.again
    assert isinstance(changed.hidden, nn.Identity)


def test_rounding_of_a_module_survives_its_swap() -> None:
    model, x = Probe(), torch.randn(5, 3)
    roundings = [RoundActivation("inner", "input", FINE), RoundActivation("inner", "output", FINE)]
    swap = Swap("inner", low_rank(model.inner, 2))
    before, after = apply(model, Plan.of([*roundings, swap])), apply(model, Plan.of([swap, *roundings]))
    assert torch.equal(before(x), after(x))
    assert not torch.equal(before(x), apply(model, Plan.of([swap]))(x))


def test_the_whole_model_cannot_be_swapped() -> None:
    with pytest.raises(UsageError, match="Swap: got the whole model; expected a module inside it"):
        apply(net(), Plan.of([Swap("", Identity())]))


# --- composition


@pytest.mark.parametrize("cut", range(9))
@pytest.mark.parametrize("trainable", [False, True])
def test_applying_one_plan_after_another_is_applying_their_sum(cut: int, trainable: bool) -> None:
    model = net()
    edits = list(every_edit(model))
    a, b = Plan.of(edits[:cut]), Plan.of(edits[cut:])
    stepwise = apply(apply(model, a, trainable=trainable), b, trainable=trainable)
    whole = apply(model, a + b, trainable=trainable)
    assert same_state(stepwise, whole)
    assert torch.equal(stepwise(images()), whole(images()))


def test_a_recoded_tensor_can_be_cut_even_while_it_is_trained() -> None:
    model = net()
    plan = Plan.of([recode(model, "conv.weight"), cut_conv()])
    fixed, free = apply(model, plan), apply(model, plan, trainable=True)
    assert same_state(fixed, free)


def test_a_cut_sets_attributes_of_what_a_module_holds_and_keeps_lists_lists() -> None:
    model = net()
    model.conv.settings = SimpleNamespace(widths=[3, 8], inner=SimpleNamespace(size=8))
    values = (("conv", "settings.widths", (3, 5)), ("conv", "settings.inner.size", 5))
    changed = apply(model, Plan.of([Cut(axis="settings", slices=(), attributes=values)]))
    assert changed.conv.settings.widths == [3, 5] and changed.conv.settings.inner.size == 5
    assert model.conv.settings.widths == [3, 8] and model.conv.settings.inner.size == 8


@pytest.mark.parametrize("name", ["__class__.training", "__dict__", "settings.__class__.size"])
def test_a_cut_reaches_no_class_through_an_attribute(name: str) -> None:
    with pytest.raises(UsageError, match="expected one without two underscores"):
        apply(net(), Plan.of([Cut(axis="conv", slices=(), attributes=(("conv", name, 1),))]))


# --- ties


def twins() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval()


@pytest.mark.parametrize("trainable", [False, True])
def test_tied_parameters_are_one_tensor_that_trains_for_both(trainable: bool) -> None:
    model = twins()
    recoded = Recode("0.weight", symmetric(model[0].weight, 4))
    for edits in ([Tie("2.weight", "0.weight"), recoded], [recoded, Tie("2.weight", "0.weight")]):
        changed = apply(model, Plan.of(edits), trainable=trainable)
        assert torch.equal(changed[2].weight, recoded.coding.decode()) and torch.equal(
            changed[0].weight, changed[2].weight
        )
        assert len(list(changed.parameters())) == 5
        changed(torch.ones(2, 4)).sum().backward()
        grads = [p.grad for p in changed.parameters()]
        assert all(grad is not None and bool(grad.any()) for grad in grads)
        if trainable:  # Still under the coding, in both places.
            with torch.no_grad():
                free_parameter(changed, "0.weight").mul_(1.3)
            assert torch.equal(changed[2].weight, recoded.coding.project(free_parameter(changed, "0.weight")))
            assert torch.equal(changed[0].weight, changed[2].weight)
    assert model[0].weight is not model[2].weight


def test_three_parameters_may_become_one_and_are_saved_once(tmp_path) -> None:
    plan = Plan.of([Tie("2.weight", "0.weight"), Tie("4.weight", "2.weight")])
    changed = apply(twins(), plan)
    assert changed[4].weight is changed[2].weight is changed[0].weight
    save_state(tmp_path, changed, plan)
    again, _ = load_state(tmp_path, twins())
    assert again[4].weight is again[0].weight and torch.equal(again[0].weight, changed[0].weight)
    assert (tmp_path / "weights.safetensors").stat().st_size < 4 * (16 + 3 * 4) + 400


def test_a_tie_of_other_shapes_or_names_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Tie: 0.bias has shape \[4\], 2.weight \[4, 4\]"):
        apply(twins(), Plan.of([Tie("0.bias", "2.weight")]))
    with pytest.raises(UsageError, match=r"no tensor named '3\.weight'"):
        apply(twins(), Plan.of([Tie("0.weight", "3.weight")]))
    assert apply(twins(), Plan.of([Tie("0.weight", "3.weight")]), strict=False)
