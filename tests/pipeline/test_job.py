"""What a job makes of the model that it is given."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from laconic import Target, compress, load_into
from laconic.core.plain_weights import plain_weights
from laconic.pipeline.job import job_of

from .samples import at_once, task


def normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(weight_norm(nn.Linear(16, 64)), nn.ReLU(), weight_norm(nn.Linear(64, 4))).eval()


def job(model: nn.Module):
    return job_of(model, task(), None, Target(), recovery=None, samples=64, seed=0, command="", progress=None)


def test_a_model_with_plain_weights_is_taken_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(16, 4))
    assert job(model).model is model and len(job(model).first) == 0


def test_computed_weights_are_made_plain_and_the_plan_begins_with_that() -> None:
    model = normalised()
    found = job(model)
    assert found.first == plain_weights(model) and len(found.first) == 2
    assert set(dict(found.model.named_parameters())) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_weight_normalised_model_is_compressed_and_loaded_into_its_own_class(tmp_path) -> None:
    model, x = normalised(), torch.randn(8, 16)
    with at_once():
        result = compress(model, task(), recovery=None)
    result.save(tmp_path)
    assert result.met
    assert list(result.plan)[:2] == list(plain_weights(model))
    assert {edit.parameter for edit in result.plan.recodes} >= {"0.weight", "2.weight"}
    again = load_into(normalised(), tmp_path / "artifact")
    torch.testing.assert_close(again(x), result.model(x), rtol=0, atol=0)
