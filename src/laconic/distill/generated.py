"""Sequences from a model that can generate by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from laconic.core.errors import ModelError
from laconic.core.task import Batch, Task


@final
@dataclass(frozen=True, kw_only=True)
class Generated:
    """Calls `model.generate(*args, **kwargs, **options)`, as models of `transformers` have it.

    Args:
        options: what `generate` takes, such as `{"max_new_tokens": 64, "num_beams": 4}`.
        end: the token that ends a sequence; None: none does.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    end: int | None = None

    def __call__(self, model: nn.Module, prompt: Batch, task: Task) -> Tensor:
        """Returns the prompts' tokens and those that follow, `[samples, positions]`.

        Raises:
            ModelError: the model has no `generate`, or gives no tensor.
        """
        if not callable(generate := getattr(model, "generate", None)):
            raise ModelError(f"Generated: {type(model).__name__} has no method generate. Use Sampled or Beams.")
        found = generate(*prompt.args, **prompt.kwargs, **self.options)
        if not isinstance(found, Tensor):
            raise ModelError(
                f"Generated: {type(model).__name__}.generate returned {type(found).__name__}; expected ids [samples, "
                "positions]. Leave out return_dict_in_generate."
            )
        return found
