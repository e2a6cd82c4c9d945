import re

import pytest
import torch
from torch import nn

from laconic import ModelError, UsageError
from laconic.core.sound import check_codable, check_weights


def damaged(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[1].weight.data[1, 2] = value
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (damaged(torch.nan), "1.weight: holds NaN or infinity; expected finite weights. Check the checkpoint."),
        (damaged(-torch.inf), "1.weight: holds NaN or infinity"),
        (nn.Sequential(nn.Linear(2, 3, device="meta")), "0.weight: is on the meta device, without values"),
        (nn.Sequential(nn.LazyLinear(3)), "0.weight: has no shape yet"),
    ],
)
def test_weights_that_are_not_there_or_no_numbers_are_named(model: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=re.escape(words)):
        check_weights(model, "compress.model")


def test_what_is_no_module_is_said_with_the_argument() -> None:
    with pytest.raises(UsageError, match=r"compress\.model: got 'str'; expected a torch\.nn\.Module, trained"):
        check_weights("net.pt", "compress.model")


def test_finite_weights_pass_and_so_does_a_model_without_any() -> None:
    check_weights(nn.Sequential(nn.Linear(2, 2), nn.Embedding(3, 2)), "compress.model")
    check_weights(nn.ReLU(), "compress.model")


def test_what_a_technique_cannot_code_is_named_with_the_figure() -> None:
    check_codable(torch.tensor([-1e25, 0.0]), "fc.weight")
    with pytest.raises(ModelError, match=r"^fc\.weight: holds 1\.1e\+25; expected weights up to 1e\+25\. Check"):
        check_codable(torch.tensor([1.0, -1.1e25]), "fc.weight")
    with pytest.raises(ModelError, match=r"^fc\.weight: holds NaN or infinity"):
        check_codable(torch.tensor([1.0, torch.nan]), "fc.weight")
