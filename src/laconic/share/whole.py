"""A whole model whose weights share what is stored, in one call."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Collection, Sequence

from torch import Tensor, nn

from laconic.calibrate import Evidence, Layer, LayerEvidence, calibrate, layers, reached_of
from laconic.core.coding import Coding
from laconic.core.errors import ModelError, invalid
from laconic.core.plain_weights import on_plain_weights
from laconic.core.plan import Plan
from laconic.core.task import Task
from laconic.share.hashed_sharing import HashedSharing
from laconic.share.sparse_dictionary import SparseDictionary
from laconic.solve import code_in_order

Sharing = HashedSharing | SparseDictionary


@on_plain_weights
def share(
    model: nn.Module,
    task: Task,
    *,
    method: Sharing | None = None,
    keep: Sequence[str] = (),
    in_order: bool = False,
    evidence: Evidence | None = None,
) -> Plan:
    """Plans every weight as few numbers, or few atoms, that its places share. Nothing is changed: `apply` the plan.

    A layer that would not become smaller stays as it is.

    Args:
        model: a trained model.
        task: its data; one pass over the calibration part, unless `evidence` is given.
        method: None: `SparseDictionary()`. `HashedSharing()` is for training afterwards.
        keep: patterns (`*`, `?`) of parameters that stay as they are.
        in_order: fit each layer to the inputs that the layers before, changed already, leave it, and let batch
            statistics and biases take back what remains. Nearer to the original, but holds the activations of all
            samples at once.
        evidence: of an earlier `calibrate`.

    Raises:
        ModelError: no layer becomes smaller, or a weight is not finite.
        UsageError: a pattern matches nothing.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> print(share(model, Task(evaluate=[torch.randn(64, 32)], metric="mse"), method=HashedSharing()))
        Plan: 2 edits
          0.weight: 64 numbers shared by 512 weights, 128 bytes
          2.weight: 4 numbers shared by 32 weights, 8 bytes
    """
    method = method or SparseDictionary()
    tensors = dict(model.named_parameters())
    _check(keep, tensors)
    if evidence is None:
        evidence = calibrate(model, task, gradients=isinstance(method, HashedSharing), activations=False)
    found = {layer.parameter: layer for layer in layers(model)}
    found |= {name: seen.layer for name, seen in evidence.layers.items()}
    free = {
        name: layer
        for name, layer in found.items()
        if name in tensors and not any(fnmatch.fnmatch(name, pattern) for pattern in keep) and _shrinks(method, layer)
    }
    if not free:
        raise ModelError(f"share: {type(model).__name__} has no weight that {type(method).__name__} makes smaller.")
    seen = reached_of(evidence.layers, free, "share", so="there all weights count alike")

    def encode(weight: Tensor, layer: Layer, now: LayerEvidence) -> Coding:
        return method.encode(weight, layer, now.with_gradients_of(seen.get(layer.parameter)))

    plan = Plan.of(method.edit(tensors[name], layer, seen.get(name)) for name, layer in free.items())
    return code_in_order(model, plan, task, encode, parameters=list(free)) if in_order else plan


def _check(keep: Sequence[str], names: Collection[str]) -> None:
    for pattern in keep:
        if not fnmatch.filter(names, pattern):
            near = ", ".join(difflib.get_close_matches(pattern, names, n=3, cutoff=0.3))
            raise invalid("share.keep", pattern, "a pattern that matches a parameter", f"Near ones: {near}.")


def _shrinks(method: Sharing, layer: Layer) -> bool:
    return method.size_bytes(layer) < 4 * math.prod(layer.shape)
