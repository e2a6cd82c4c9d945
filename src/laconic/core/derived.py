"""Weights that a module computes from other tensors before each call, as weight and spectral normalisation do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook, SpectralNormStateDictHook
from torch.nn.utils.weight_norm import WeightNorm

from laconic.core.projection import Projection

BESIDE: Mapping[type[Any], tuple[str, ...]] = {
    WeightNorm: ("_g", "_v"),
    SpectralNorm: ("_orig", "_u", "_v"),
    BasePruningMethod: ("_orig", "_mask"),
}
"""The older forms compute a tensor in a hook, from tensors that are named like it with these endings."""
OF_STATE = (SpectralNormStateDictHook, SpectralNormLoadStateDictPreHook)


def derives(hook: Any) -> bool:
    """Returns whether a hook is there to compute a tensor, or to save what it is computed from."""
    return isinstance(getattr(hook, "hook", hook), (*BESIDE, *OF_STATE))


def derived(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Returns the tensors that a module itself, not one inside it, computes from others: name -> those others by name.

    Projections, which training under a plan puts there, do not count.

    Example:
        >>> list(derived(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))["weight"])
        ['parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    found: dict[str, dict[str, Tensor]] = {}
    for hook, endings in _hooks(module):
        name = _computed_by(hook)
        held = {**module._parameters, **module._buffers}
        found[name] = {key: t for key in (f"{name}{e}" for e in endings) if (t := held.get(key)) is not None}
    chains = module.parametrizations if parametrize.is_parametrized(module) else None
    if isinstance(chains, nn.ModuleDict):
        if any(isinstance(step, Projection) for step in chains.modules()):
            return {}
        for name, chain in chains.items():
            found[name] = {f"parametrizations.{name}.{key}": t for key, t in chain.state_dict(keep_vars=True).items()}
    return found


def with_own_weights(module: nn.Module) -> nn.Module:
    """Returns the module with a parameter in the place of each tensor that it computes; all others are shared.

    The values are those of eval mode. A module that computes none is returned as it is.
    """
    if not (found := derived(module)):
        return module
    values = {name: _settled(module, name, sources.values()) for name, sources in found.items()}
    kind = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    own = cast(nn.Module, object.__new__(kind))
    own.__dict__.update({k: v.copy() if isinstance(v, dict | list | set) else v for k, v in vars(module).items()})
    own._modules.pop("parametrizations", None)
    for hooks in (value for key, value in vars(own).items() if key.endswith("_hooks") and isinstance(value, dict)):
        for key in [key for key, hook in hooks.items() if derives(hook)]:
            del hooks[key]
    for name, sources in found.items():
        for key in sources:
            own._parameters.pop(key, None)
            own._buffers.pop(key, None)
        setattr(own, name, values[name])
    return own


def _hooks(module: nn.Module) -> list[tuple[Any, tuple[str, ...]]]:
    return [
        (hook, endings)
        for hook in module._forward_pre_hooks.values()
        for kind, endings in BESIDE.items()
        if isinstance(hook, kind)
    ]


def _computed_by(hook: Any) -> str:
    return str(hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name)


def _settled(module: nn.Module, name: str, sources: Any) -> nn.Parameter:
    modes = {part: part.training for part in module.modules()}
    for part in modes:
        part.training = False  # Spectral normalisation would take another step of its power iteration.
    try:
        with torch.no_grad():
            for hook, _ in _hooks(module):
                hook(module, ())
            value: Tensor = getattr(module, name)
    finally:
        for part, training in modes.items():
            part.training = training
    copy = value.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(copy, requires_grad=any(source.requires_grad for source in sources))
