from typing import Any

import pytest
import torch
from torch import nn

from laconic.core.errors import ModelError, UsageError
from laconic.train import place
from laconic.train.place import accelerator_for, lent

CPU = torch.device("cpu")


def test_one_process_can_train_in_one_precision_after_another() -> None:
    assert [accelerator_for(p).mixed_precision for p in ("bf16", "no", "bf16", None)] == ["bf16", "no", "bf16", "no"]


def test_float16_on_a_cpu_is_refused_because_it_would_silently_be_float32() -> None:
    with pytest.raises(UsageError, match=r"Training\.mixed_precision: got 'fp16'.*Write 'bf16' on a CPU"):
        accelerator_for("fp16")


def test_without_a_precision_the_launcher_s_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert accelerator_for("no").mixed_precision == "no"
    assert accelerator_for(None).mixed_precision == "bf16"


def test_a_precision_that_the_machine_does_not_have_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise ValueError("fp16 mixed precision requires a GPU")

    monkeypatch.setattr(place, "Accelerator", refuse)
    with pytest.raises(UsageError, match=r"Training\.mixed_precision: got 'fp16'.*requires a GPU"):
        accelerator_for("fp16")


def test_a_forward_that_the_user_has_replaced_is_still_there_afterwards() -> None:
    model = nn.Linear(2, 2)
    model.forward = own = lambda x: x
    with lent(model, (), CPU):
        accelerator_for("bf16").prepare(model)
        assert model.forward is not own
    assert model.forward is own
    assert "_original_forward" not in vars(model)


def test_modes_are_put_back_after_an_error_too() -> None:
    model, teacher = nn.Linear(2, 2).eval(), nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(ZeroDivisionError), lent(model, (teacher,), CPU):
        assert (model.training, teacher[0].training) == (True, False)
        raise ZeroDivisionError
    assert (model.training, teacher[0].training, teacher[1].training) == (False, True, False)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="no trainable parameter"), lent(nn.ReLU(), (), CPU):
        raise AssertionError
