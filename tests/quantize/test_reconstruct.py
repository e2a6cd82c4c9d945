import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.calibrate import calibrate, layers
from laconic.core.activation_grids import ActivationGrid
from laconic.core.apply import apply
from laconic.core.codings import AffineGrid, Dense, Half
from laconic.core.edit import Recode, RoundActivation
from laconic.core.errors import UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.quantize import BlockReconstruction, CompensatedRounding, RoundToNearest, quantize
from laconic.quantize.reconstruct_blocks import blocks
from laconic.solve import code_in_order

QUICK = BlockReconstruction(steps=150, batch=32)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.narrow(functional.gelu(self.wide(self.norm(x))))
        return answer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 12)
        self.body = nn.Sequential(Block(12), Block(12))
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last(self.body(self.first(x)))
        return answer


def points(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, generator=generator)
    return x, ((x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > x[:, 3].abs()).long())


@cache
def trained() -> Net:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(150):
        x, y = points(64, step)
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(x), y))
        optimizer.step()
    optimizer.zero_grad()
    return model.eval()


TASK = Task(evaluate=list(points(256, 1000)[0].split(50)))
UNSEEN = points(512, 2000)[0]


def coded(model: nn.Module, technique: CompensatedRounding | RoundToNearest, task: Task = TASK) -> Plan:
    evidence = calibrate(model, task, gradients=False, activations=False)
    tensors = dict(model.named_parameters())
    return Plan.of(
        technique.edit(tensors[layer.parameter], layer, evidence.layers.get(layer.parameter)) for layer in layers(model)
    )


@cache
def compensated() -> Plan:
    return coded(trained(), CompensatedRounding(bits=2))


@cache
def improved() -> Plan:
    return QUICK.improve(trained(), compensated(), TASK)


@torch.no_grad()
def error(plan: Plan, count: int) -> float:
    """Of the first `count` blocks, on inputs that nothing was fitted to."""
    model = trained()
    changed = apply(model, plan)
    wanted = model.body[:count](model.first(UNSEEN))
    return float((changed.body[:count](changed.first(UNSEEN)) - wanted).square().mean())


@pytest.mark.parametrize("count", [1, 2])
def test_blocks_answer_nearer_to_the_original_on_unseen_inputs(count: int) -> None:
    assert error(improved(), count) < 0.9 * error(compensated(), count)


def test_every_weight_of_a_block_stays_on_a_grid_of_the_same_bits_and_size() -> None:
    before = {edit.parameter: edit.coding for edit in compensated().recodes}
    after = {edit.parameter: edit.coding for edit in improved().recodes}
    changed = 0
    for name, grid in before.items():
        found = after[name]
        assert isinstance(grid, AffineGrid) and isinstance(found, AffineGrid)
        assert (found.bits, found.blocks, found.size_bytes) == (grid.bits, grid.blocks, grid.size_bytes)
        moved = (found.integers() - grid.integers()).abs()
        assert moved.max() <= 1
        changed += int(moved.sum())
    assert changed > 0


def test_norms_and_biases_of_blocks_learn_along_and_nothing_outside_of_blocks_changes() -> None:
    names = {edit.where for edit in improved()} - {edit.where for edit in compensated()}
    inside = {f"body.{i}.{n}" for i in (0, 1) for n in ("norm.weight", "norm.bias", "wide.bias", "narrow.bias")}
    assert names == inside
    kept = [edit for edit in compensated() if not edit.where.startswith("body.")]
    assert set(kept) <= set(improved())


def test_equal_arguments_give_equal_plans_and_the_original_stays_untouched() -> None:
    before = {name: tensor.clone() for name, tensor in trained().state_dict().items()}
    again = QUICK.improve(trained(), compensated(), TASK)
    assert again.digest == improved().digest
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained().state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in trained().parameters())


def test_quantize_reconstructs_when_asked() -> None:
    evidence = calibrate(trained(), TASK, gradients=False, activations=False)
    plain = quantize(trained(), TASK, bits=2, evidence=evidence)
    assert plain == compensated()
    learnt = quantize(trained(), TASK, bits=2, evidence=evidence, reconstruct=True)
    assert learnt == BlockReconstruction().improve(trained(), plain, TASK, encode=CompensatedRounding(bits=2).encode)


@torch.no_grad()
def test_weights_outside_of_blocks_are_fitted_to_what_the_blocks_then_give_them() -> None:
    encode = CompensatedRounding(bits=2).encode
    start = code_in_order(trained(), compensated(), TASK, encode)
    left, fitted = QUICK.improve(trained(), start, TASK), QUICK.improve(trained(), start, TASK, encode=encode)
    wanted = trained()(UNSEEN)
    before, after = (float((apply(trained(), plan)(UNSEEN) - wanted).square().mean()) for plan in (left, fitted))
    assert after < 0.9 * before
    assert {edit for edit in left if edit.where.startswith("body.")} <= set(fitted)


def test_another_seed_draws_other_samples() -> None:
    other = BlockReconstruction(steps=20, seed=1).improve(trained(), compensated(), TASK)
    assert other.digest != BlockReconstruction(steps=20).improve(trained(), compensated(), TASK).digest


def test_asymmetric_grids_and_groups_are_learnt_too() -> None:
    plan = coded(trained(), RoundToNearest(bits=2, symmetric=False, per=8))
    assert error(QUICK.improve(trained(), plan, TASK), 2) < 0.9 * error(plan, 2)


def test_a_block_reads_rounded_activations_where_the_plan_rounds_them() -> None:
    grid = ActivationGrid(bits=2, scale=1.0, zero_point=2)
    plan = compensated() + Plan.of([RoundActivation("body.0.wide", "input", grid)])
    found = BlockReconstruction(steps=20).improve(trained(), plan, TASK)
    assert plan.edits[-1] in found.edits
    vectors = {edit.where: edit for edit in found}
    plain = {edit.where: edit for edit in BlockReconstruction(steps=20).improve(trained(), compensated(), TASK)}
    assert vectors["body.0.wide.bias"] != plain["body.0.wide.bias"]


def test_a_model_without_blocks_stays_as_it_is_coded() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    plan = coded(model, RoundToNearest(bits=2))
    assert BlockReconstruction(steps=1).improve(model, plan, TASK) == plan


def test_other_codings_and_tied_weights_stay_as_they_are_coded() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    model.body[1].wide.weight = model.body[0].wide.weight
    plan = coded(model, RoundToNearest(bits=2))
    dense = Recode("body.1.narrow.weight", Dense.of(torch.zeros(12, 24)))
    plan = Plan.of(dense if edit.where == dense.parameter else edit for edit in plan)
    assert BlockReconstruction(steps=5).improve(model, plan, TASK).edits[: len(plan)] == plan.edits


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_learns_in_single_precision_whatever_its_own_is(dtype: torch.dtype) -> None:
    model = copy.deepcopy(trained()).to(dtype)
    task = Task(evaluate=[batch.to(dtype) for batch in points(128, 1000)[0].split(64)])
    found = BlockReconstruction(steps=40).improve(model, compensated(), task)
    assert error(found, 2) < 0.9 * error(compensated(), 2)


def test_a_norm_that_several_blocks_share_stays_as_it_is_for_all_of_them() -> None:
    model = copy.deepcopy(trained())
    model.body[1].norm = model.body[0].norm
    found = BlockReconstruction(steps=20).improve(model, compensated(), TASK)
    assert {edit.where for edit in found if "body.0" in edit.where and edit not in compensated().edits} == {
        f"body.0.{name}" for name in ("wide.weight", "wide.bias", "narrow.weight", "narrow.bias")
    }


def test_a_vector_that_the_plan_codes_stays_coded() -> None:
    half = Recode("body.0.norm.weight", Half.of(trained().body[0].norm.weight))
    found = BlockReconstruction(steps=20).improve(trained(), compensated() + Plan.of([half]), TASK)
    assert half in found.edits
    assert len(found) > len(compensated()) + 1


@pytest.mark.parametrize("shape", [(12,), (12, 1)], ids=["what all share", "each sample's own"])
def test_what_is_as_long_as_a_batch_is_cut_only_where_the_block_then_answers_the_same(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, task = Stack(torch.rand(shape)).eval(), Task(evaluate=[torch.randn(12, 12) for _ in range(3)])
    plan = coded(model, RoundToNearest(bits=2), task)
    found = BlockReconstruction(steps=20, batch=4).improve(model, plan, task)
    assert "layers.1.more.narrow.bias" in {edit.where for edit in found}


def test_a_block_that_learnt_nothing_that_holds_for_other_samples_stays_as_it_is_coded() -> None:
    exact = coded(trained(), RoundToNearest(bits=8))
    assert BlockReconstruction(steps=1, rate=1e3).improve(trained(), exact, TASK) == exact


def test_three_samples_are_too_few_to_learn_from() -> None:
    few = Task(evaluate=[UNSEEN[:3]])
    assert BlockReconstruction(steps=1).improve(trained(), compensated(), few) == compensated()


class Attention(nn.Module):
    """A wrapper, as user code has it: nested modules that each hold several weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = Block(12)
        self.more = Block(12)

    def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
        answer: Tensor = self.more(self.mixing(x)) * scale
        return answer


class Stack(nn.Module):
    def __init__(self, scale: Tensor | None = None) -> None:
        super().__init__()
        self.scale = torch.ones(12) if scale is None else scale
        self.layers = nn.ModuleList([Attention(), Attention()])
        self.head = Block(12)
        self.twice = Block(12)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, scale=self.scale)
        answer: Tensor = self.twice(self.twice(self.head(x)))
        return answer


def test_the_outermost_repeated_modules_are_blocks_but_not_those_called_twice() -> None:
    model, task = Stack().eval(), Task(evaluate=[torch.randn(4, 12)])
    coded_names = [name for name, p in model.named_parameters() if p.dim() == 2]
    with torch.no_grad():
        found = blocks(model, task, next(task.batches("evaluate")), coded_names)
    assert found == ["layers.0", "layers.1", "head"]


def test_blocks_with_inputs_by_name_are_learnt() -> None:
    torch.manual_seed(0)
    model, task = Stack().eval(), Task(evaluate=[torch.randn(64, 12)])
    plan = Plan.of(
        RoundToNearest(bits=2).edit(dict(model.named_parameters())[layer.parameter], layer) for layer in layers(model)
    )
    found = {edit.where for edit in BlockReconstruction(steps=60).improve(model, plan, task)}
    assert "layers.1.more.narrow.bias" in found and "twice.narrow.bias" not in found


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("batch", 0), ("rate", 0.0)])
def test_numbers_outside_their_domain_are_named(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"BlockReconstruction.{name}"):
        BlockReconstruction(**{name: value})
