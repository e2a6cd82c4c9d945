import math
from dataclasses import replace

import pytest
import torch
from selecting_samples import TASK, network, smooth
from torch import nn

from laconic.calibrate import calibrate
from laconic.core.apply import apply
from laconic.core.budget import Budget
from laconic.core.edit import Recode, Swap
from laconic.core.errors import ModelError, UsageError
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.factorize import ActivationAwareSVD
from laconic.graph import capture, costs
from laconic.measure import kl_divergence
from laconic.quantize import CompensatedRounding, RoundToNearest
from laconic.select import PriceList, allocate, price
from laconic.select.correct import corrected
from laconic.select.menu import DICTIONARIES, EVERYTHING, GRIDS, LOW_RANK, MENU, SPARSE_CODEBOOKS, SUMS, TOGETHER
from laconic.share import AcrossDepth

MODEL = network()
EVIDENCE = calibrate(MODEL, TASK, samples=256, activations=False)
TECHNIQUES = (*GRIDS, *LOW_RANK)
PRICES = price(MODEL, TASK, techniques=TECHNIQUES, evidence=EVIDENCE)


def measured(model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return kl_divergence(MODEL(x), model(x)).mean().item()


def test_every_layer_can_stay_as_it_is_for_nothing() -> None:
    assert list(PRICES.layers) == ["0.weight", "3.weight", "6.weight", "8.weight"]
    for found in PRICES.layers.values():
        assert found[0].edit is None and found[0].nats == 0


def test_sizes_and_products_are_those_of_the_model() -> None:
    assert PRICES.size_bytes == sum(t.numel() * t.element_size() for t in MODEL.state_dict().values())
    assert PRICES.macs == costs(capture(MODEL, (smooth(2, 0),))).macs


def test_an_offer_is_the_size_it_says_and_needs_what_it_says() -> None:
    for offer in [offer for offer in PRICES.offers if offer.edit is not None][::8]:
        changed = apply(MODEL, Plan.of([offer.edit]))
        if isinstance(offer.edit, Swap):
            gone = sum(p.numel() for p in MODEL.parameters()) - sum(p.numel() for p in changed.parameters())
            assert offer.size_bytes == PRICES.layers[offer.layer][0].size_bytes - 4 * gone
        else:
            assert offer.size_bytes == offer.edit.coding.size_bytes
        macs = costs(capture(changed, (smooth(2, 0),))).macs
        assert macs == PRICES.macs - PRICES.layers[offer.layer][0].macs + offer.macs


def test_fewer_bits_are_smaller_and_dearer() -> None:
    for found in PRICES.layers.values():
        grids = [offer for offer in found if isinstance(offer.technique, CompensatedRounding)]
        assert sorted(grids, key=lambda o: -o.size_bytes) == sorted(grids, key=lambda o: o.nats)


def test_measured_offers_are_measured_on_samples_behind_the_evidence() -> None:
    held_back = smooth(64, seed=4)
    points = [offer for offer in PRICES.offers if offer.measured_nats is not None]
    assert len(points) == 48
    for offer in points[::5]:
        assert offer.edit is not None
        assert offer.measured_nats == pytest.approx(measured(apply(MODEL, Plan.of([offer.edit])), held_back))


def test_a_prediction_that_is_wrong_by_a_factor_is_set_right_everywhere() -> None:
    found = [replace(o, nats=o.predicted_nats) for o in PRICES.offers]
    truth = {i: 3 * o.predicted_nats for i, o in enumerate(found) if o.edit is not None}
    right = corrected(found, dict(list(truth.items())[::4]))
    assert all(right[i].nats == pytest.approx(nats, rel=0.01) for i, nats in truth.items())


def test_a_layer_that_is_dearer_than_others_is_found_out_by_its_own_points() -> None:
    found = [replace(o, nats=o.predicted_nats) for o in PRICES.offers]
    truth = {
        i: (10 if o.layer == "6.weight" else 1) * o.predicted_nats for i, o in enumerate(found) if o.edit is not None
    }
    right = corrected(found, truth)
    factors = {o.layer: o.nats / o.predicted_nats for o in right if o.edit is not None}
    assert factors["6.weight"] > 5 and all(f < 2 for layer, f in factors.items() if layer != "6.weight")


def test_prices_saturate_where_a_model_knows_nothing_and_keep_their_order() -> None:
    found = [replace(o, nats=o.predicted_nats) for o in PRICES.offers]
    truth = {i: 1e4 * o.predicted_nats for i, o in enumerate(found) if o.edit is not None}
    free, right = corrected(found, truth), corrected(found, truth, most=math.log(4))
    assert max(offer.nats for offer in free) > 5 > 1.6 > max(offer.nats for offer in right)
    assert [a.nats for a in right if a.nats < 1] == [a.nats for a in free if a.nats < 1]
    order = [sorted(range(len(found)), key=lambda i: prices[i].nats) for prices in (free, right)]
    assert order[0] == order[1]


def test_measuring_more_than_there_is_measures_all() -> None:
    every = price(MODEL, TASK, techniques=[RoundToNearest(bits=3)], evidence=EVIDENCE, measure=99)
    assert [o.measured_nats is None for o in every.offers] == [True, False] * 4


def test_without_measuring_the_prediction_stands() -> None:
    blind = price(MODEL, TASK, techniques=TECHNIQUES, evidence=EVIDENCE, measure=0)
    assert all(offer.nats == offer.predicted_nats and offer.measured_nats is None for offer in blind.offers)


def test_corrected_prices_rank_as_whole_model_measurements_do() -> None:
    held_back = smooth(64, seed=9)
    offers = [offer for offer in PRICES.offers if offer.edit is not None]
    truth = [measured(apply(MODEL, Plan.of([offer.edit])), held_back) for offer in offers]
    ranks = [torch.tensor(v).argsort().argsort().double() for v in ([o.nats for o in offers], truth)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.95


def test_equal_arguments_give_equal_prices_and_the_model_is_as_it_was() -> None:
    before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    again = price(MODEL, TASK, techniques=TECHNIQUES, evidence=EVIDENCE)
    assert list(again.rows()) == list(PRICES.rows())
    assert all(torch.equal(before[name], tensor) for name, tensor in MODEL.state_dict().items())


def test_what_does_not_go_together_with_a_layer_or_saves_nothing_is_not_offered() -> None:
    narrow = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    task = Task(evaluate=[torch.randn(64, 4, generator=torch.Generator().manual_seed(0))])
    prices = price(narrow, task, techniques=MENU)
    assert {offer.name for offer in prices.offers} >= {"", "CompensatedRounding", "MaskThen"}
    assert "VectorCodebook" not in {offer.name for offer in prices.offers}
    for found in prices.layers.values():
        assert all(offer.size_bytes < found[0].size_bytes for offer in found[1:])


def test_who_asks_is_offered_sums_dictionaries_and_words_behind_a_mask_too() -> None:
    assert {*MENU, *SPARSE_CODEBOOKS, *SUMS, *DICTIONARIES, *TOGETHER} == {*EVERYTHING}
    wide = nn.Sequential(nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 4))
    task = Task(evaluate=[torch.randn(128, 96, generator=torch.Generator().manual_seed(0))])
    asked = (SPARSE_CODEBOOKS[0], SUMS[2], DICTIONARIES[0])
    found = price(wide, task, techniques=asked, measure=0).layers["0.weight"]
    assert [offer.technique for offer in found] == [None, *asked]
    for offer in found[1:]:
        assert isinstance(offer.edit, Recode) and offer.size_bytes == offer.edit.coding.size_bytes < found[0].size_bytes
        assert 0 < offer.nats < 1
    assert (found[1].edit.coding.decode() == 0).double().mean() >= 0.5


def test_a_tied_weight_is_priced_for_both_uses_and_never_swapped() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(ids))

    task = Task(evaluate=[torch.randint(0, 12, (32, 6), generator=torch.Generator().manual_seed(0))])
    techniques = [RoundToNearest(bits=3), ActivationAwareSVD()]
    prices = price(Tied().eval(), task, techniques=techniques)
    assert [offer.name for offer in prices.offers] == ["", "RoundToNearest"]
    assert prices.size_bytes == 12 * 8 * 4


def test_a_table_shows_every_offer() -> None:
    lines = str(PRICES).splitlines()
    assert lines[0].split() == ["layer", "level", "bytes", "MACs", "nats", "measured"]
    assert len(lines) == 1 + len(PRICES.offers)


def test_rows_are_plain_values() -> None:
    rows = list(PriceList.rows(PRICES))
    assert all(math.isfinite(float(row["nats"] or 0)) for row in rows)
    assert {row["technique"] for row in rows} == {"", "CompensatedRounding", "ActivationAwareSVD"}


def test_evidence_without_gradients_is_refused() -> None:
    with pytest.raises(UsageError, match="price: the evidence holds no gradients"):
        price(MODEL, TASK, evidence=calibrate(MODEL, TASK, gradients=False, activations=False))


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="ReLU has no"):
        price(nn.ReLU(), Task(evaluate=[torch.randn(4, 3)]))


@pytest.mark.parametrize(("name", "value"), [("measure", -1), ("samples", 0)])
def test_numbers_outside_their_domain_are_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=rf"price\.{name}: got {value}; expected a whole number of at least"):
        price(MODEL, TASK, evidence=EVIDENCE, **{name: value})


class Alike(nn.Module):
    """Blocks whose second layers are nearly the same from one block to the next, and whose first ones are not."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.head = nn.Linear(8, 4)
        for layer in self.second[1:]:
            layer.weight.data = self.second[0].weight.data + 1e-3 * torch.randn(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(torch.tanh(first(x)))
        return self.head(x)


@pytest.fixture(scope="module")
def alike() -> tuple[nn.Module, Task, PriceList]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, task = Alike().eval(), Task(evaluate=list(torch.randn(256, 8).split(64)))
    return model, task, price(model, task, techniques=[CompensatedRounding(bits=4), AcrossDepth()], measure=8)


def test_layers_of_one_role_are_offered_together_by_what_they_cost_all_of_them(
    alike: tuple[nn.Module, Task, PriceList],
) -> None:
    model, task, prices = alike
    roles = {offer.layers for offer in prices.joint}
    assert len(roles) == 6 and all(len({name.split(".")[0] for name in layers}) == 1 for layers in roles)
    assert {tuple(f"{role}.{i}.weight" for i in range(4)) for role in ("first", "second")} <= roles
    evidence = calibrate(model, task, activations=False)
    for offer in prices.joint:
        changed = apply(model, Plan.of(offer.edits))
        shared = changed.get_parameter(offer.layers[0])
        assert all(changed.get_parameter(name) is shared for name in offer.layers)
        deltas = [(name, (shared - model.get_parameter(name)).detach()) for name in offer.layers]
        assert offer.predicted_nats == pytest.approx(sum(evidence.nats(*delta) for delta in deltas), rel=1e-6)
        assert (offer.size_bytes, offer.macs) == (256, 64 * len(offer.layers))
        assert offer.nats == offer.measured_nats
    cheap, dear = (max(o.nats for o in prices.joint if o.layer.startswith(role)) for role in ("second", "first"))
    assert cheap < 1e-3 * dear
    rows = {row["layer"]: row["level"] for row in prices.rows()}
    assert rows["second.0.weight + second.1.weight + second.2.weight + second.3.weight"] == "one tensor for 4 layers"


def test_layers_that_are_alike_are_joined_where_that_is_cheaper_than_coarser_codes(
    alike: tuple[nn.Module, Task, PriceList],
) -> None:
    model, _, prices = alike
    choice = allocate(prices, Budget(size=0.7))
    assert [offer.layers for offer in choice.joint] == [tuple(f"second.{i}.weight" for i in range(4))]
    assert {offer.layer for offer in choice.offers} == set(prices.layers) - set(choice.joint[0].layers)
    small = apply(model, choice.plan)
    assert choice.size_bytes <= 0.7 * prices.size_bytes
    tensors = {id(p): p for p in small.parameters()}
    assert sum(p.numel() for p in tensors.values()) == sum(p.numel() for p in model.parameters()) - 3 * 64
    assert allocate(prices.among([CompensatedRounding(bits=4)]), Budget(size=0.7)).nats > choice.nats


def test_the_smallest_that_joint_offers_allow_is_reached_and_said(alike: tuple[nn.Module, Task, PriceList]) -> None:
    prices = alike[2].among([AcrossDepth()])
    least = prices.other_bytes + 4 * 32 + 2 * 256  # The head as it is, and a tensor for each role.
    assert allocate(prices, Budget(size=f"{least} B")).size_bytes == least
    with pytest.raises(UsageError, match=f"expected at least {least:,}"):
        allocate(prices, Budget(size=f"{least - 1} B"))
