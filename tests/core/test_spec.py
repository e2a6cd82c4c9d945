import pytest
import torch
from torch import nn

from core.samples import low_rank
from laconic.core.errors import UsageError
from laconic.core.spec import ALL, Identity, LowRank, Skipped


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.kind for kind in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "spec", [Identity(), LowRank(torch.randn(2, 5), torch.randn(4, 2)), Skipped(output="zero", entries=2)]
)
def test_parts_give_the_spec_back(spec: Identity | LowRank | Skipped) -> None:
    again = type(spec).from_parts(spec.config(), spec.tensors())
    assert again.tensors().keys() == spec.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in spec.tensors().items())
    assert str(again) == str(spec)


@pytest.mark.parametrize("bias", [True, False])
def test_low_rank_is_the_product_of_its_factors(bias: bool) -> None:
    old, x = nn.Linear(5, 4, bias=bias), torch.randn(7, 5)
    spec = LowRank(torch.randn(2, 5), torch.randn(4, 2))
    expected = x.double() @ (spec.second.double() @ spec.first.double()).T + (old.bias.double() if bias else 0)
    assert torch.allclose(spec.build(old)(x).double(), expected, atol=1e-5)


def test_full_rank_is_the_layer_itself() -> None:
    old, x = nn.Linear(5, 4), torch.randn(7, 5)
    assert torch.allclose(low_rank(old, 4).build(old)(x), old(x), atol=1e-5)


def test_low_rank_takes_dtype_and_freezing_from_the_old_layer() -> None:
    old = nn.Linear(5, 4).double().requires_grad_(False)
    new = low_rank(old, 2).build(old)
    assert {p.dtype for p in new.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in new.parameters())


def test_building_draws_no_random_numbers() -> None:
    spec, old, before = LowRank(torch.randn(2, 5), torch.randn(4, 2)), nn.Linear(5, 4), torch.get_rng_state()
    spec.build(old)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("old", [nn.Linear(4, 5), nn.Conv2d(5, 4, 1)])
def test_low_rank_refuses_a_module_it_does_not_fit(old: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"LowRank.build: .* expected an nn.Linear with a weight of \[4, 5\]"):
        LowRank(torch.randn(2, 5), torch.randn(4, 2)).build(old)


def test_a_skipped_module_returns_its_input_or_zeros_in_the_form_of_the_old_one() -> None:
    x, old = torch.randn(2, 3), nn.Linear(3, 3)
    assert Skipped(output="input").build(old)(x, 1, mask=None) is x
    assert torch.equal(Skipped().build(old)(mask=None, x=x), torch.zeros(2, 3))
    first, second = Skipped(output="zero", entries=2).build(old)(x)
    assert first.shape == (1, 1) and not first.any() and second is None


@pytest.mark.parametrize("wrong", [{"output": "ones"}, {"entries": 0}])
def test_skipped_names_bad_settings(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=rf"Skipped\.{next(iter(wrong))}: got"):
        Skipped(**wrong)
