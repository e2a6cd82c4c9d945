"""Small networks, plans and one way to export them, for the tests of this folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from laconic.core.activation_grids import ActivationGrid
from laconic.core.apply import apply
from laconic.core.blocks import Blocks
from laconic.core.codings.affine import AffineGrid
from laconic.core.edit import Recode, RoundActivation
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.export.onnxruntime import Exported, Session, export

TASK = Task(evaluate=[torch.zeros(1)])


def grid(
    weight: Tensor, bits: int = 8, *, axis: int | None = 0, group_size: int | None = None, asymmetric: bool = False
) -> AffineGrid:
    blocks = Blocks(shape=tuple(weight.shape), axis=axis, group_size=group_size)
    rows = blocks.split(weight.detach())
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    if asymmetric:
        scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
        return AffineGrid.fit(weight, bits=bits, blocks=blocks, scale=scale, zero_point=(-low / scale).round())
    scale = (rows.abs().amax(1) / (2 ** (bits - 1) - 0.5)).clamp(min=1e-8)
    return AffineGrid.fit(weight, bits=bits, blocks=blocks, scale=scale, zero_point=None)


def recoded(model: nn.Module, bits: int = 8, **kind: Any) -> Plan:
    """Every weight with two dimensions or more on a grid."""
    return Plan.of(Recode(n, grid(p, bits, **kind)) for n, p in model.named_parameters() if p.dim() > 1)


def recoded_in_turn(model: nn.Module, kinds: Sequence[Mapping[str, Any]], start: int = 0) -> Plan:
    """One weight after the other on the next kind of grid."""
    weights = [(name, p) for name, p in model.named_parameters() if p.dim() > 1]
    return Plan.of(Recode(n, grid(p, **kinds[(start + i) % len(kinds)])) for i, (n, p) in enumerate(weights))


def rounded(model: nn.Module, batch: Batch, sites: Sequence[str], bits: int = 8) -> Plan:
    """Activations on grids that reach from the smallest to the largest value; `sites` are `module:side`."""
    seen: dict[str, Tensor] = {}
    modules, hooks = dict(model.named_modules()), []
    for site in sites:
        module, side = site.split(":")
        if side == "input":
            hook = modules[module].register_forward_pre_hook(lambda _, args, s=site: seen.update({s: args[0]}))
        else:
            hook = modules[module].register_forward_hook(lambda _, __, output, s=site: seen.update({s: output}))
        hooks.append(hook)
    with torch.no_grad():
        TASK.forward(model.eval(), batch)
    for hook in hooks:
        hook.remove()
    return Plan.of(RoundActivation(*site.split(":"), reaching(seen[site], bits)) for site in sites)


def reaching(values: Tensor, bits: int) -> ActivationGrid:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / (2**bits - 1)
    return ActivationGrid(bits=bits, scale=scale, zero_point=round(-low / scale))


@dataclass
class Pair:
    """An export beside the network that it was made from."""

    exported: Exported
    network: nn.Module
    session: Session

    def outputs(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """What ONNX Runtime and PyTorch answer."""
        with torch.no_grad():
            wanted = TASK.forward(self.network, batch).numpy()
        return self.session.run([tensor.numpy() for tensor in batch.inputs]), wanted

    def error(self, batch: Batch) -> float:
        """Largest difference."""
        got, wanted = self.outputs(batch)
        assert got.shape == wanted.shape
        return float(np.abs(got - wanted).max())


def exported(model: nn.Module, plan: Plan, batch: Batch, folder: Path) -> Pair:
    network = apply(model.eval(), plan)
    found = export(network, plan, TASK, batch, folder / "model.onnx")
    return Pair(found, network, Session(folder / "model.onnx"))


def batch_of(*shape: int) -> Batch:
    return Batch(args=(torch.randn(*shape),))


def lively(model: nn.Module) -> nn.Module:
    """Batch normalisation with statistics as after training, negative scales among them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


class Convolutional(nn.Module):
    """Convolutions of three kinds, a linear layer; normalised, negative scales among the factors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.strided = nn.Conv2d(16, 24, 3, stride=2)
        self.last = nn.Linear(24, 10)
        lively(self)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.strided(torch.relu(self.depthwise(x))))
        return self.last(x.amax((2, 3)))


CONVOLUTIONAL_SITES = ("first:input", "depthwise:input", "strided:input", "strided:output", "last:input", "last:output")


class Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.outer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.relu = nn.ReLU()
        self.last = nn.Linear(8, 4)
        lively(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.relu(x + self.outer(self.inner(x))).mean((2, 3)))


class Text(nn.Module):
    """An embedding, tied to the last layer; inputs by name, a dictionary as output."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.middle = nn.Linear(16, 16)
        self.head = nn.Linear(16, 50)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, mask: Tensor, scale: float = 1.0) -> Mapping[str, Tensor]:
        x = torch.nn.functional.gelu(self.middle(self.embedding(ids) * mask[..., None]))
        return {"logits": self.head(x) * scale}


def text_batch(size: int = 2) -> Batch:
    return Batch(kwargs={"ids": torch.randint(0, 50, (size, 6)), "mask": torch.ones(size, 6), "scale": 0.5})
