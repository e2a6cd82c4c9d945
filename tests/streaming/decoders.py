"""A tiny decoder-only language model, and its checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from laconic.core.files import write_json, write_tensors
from laconic.core.task import Batch, Task

WIDTH, HEADS, WORDS = 16, 2, 24


class Block(nn.Module):
    """Attention and a gated layer; answers with a tuple, and is given positions and a mask as larger ones are."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norm, self.after = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(WIDTH, 24, bias=False), nn.Linear(WIDTH, 24, bias=False)
        self.down = nn.Linear(24, WIDTH)

    def forward(self, x: Tensor, *, turn: tuple[Tensor, Tensor], mask: Tensor | None) -> tuple[Tensor, None]:
        y = self.norm(x)
        q, k, v = (layer(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = ((t * turn[0] + t.roll(1, -1) * turn[1]) for t in (q, k))
        x = x + self.o(functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))
        y = self.after(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y)), None


class Decoder(nn.Module):
    """Every second block sees only its neighbours; angles of positions are a buffer that no file holds."""

    angles: Tensor

    def __init__(self, depth: int = 4, *, tied: bool = False, extra: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(Block("near" if place % 2 else "all") for place in range(depth))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        self.register_buffer("angles", torch.linspace(0.1, 1, WIDTH // HEADS), persistent=False)
        self.extra = extra
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x, length = self.embed(ids), ids.shape[1]
        angles = torch.arange(length)[:, None] * self.angles
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        masks = {"all": seen, "near": seen.triu(-1)}
        for block in self.layers:
            x = block(x, turn=(angles.cos(), angles.sin()), mask=masks[block.kind])[0]
            x = x * 2 if self.extra else x
        return self.head(self.norm(x))


def decoder(**settings: int) -> Decoder:
    """With weights that are exact in bfloat16."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Decoder(**settings).eval()
    for parameter in made.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return made


def on_meta(**settings: int) -> Decoder:
    """Its structure, with buffers in memory."""
    with torch.device("meta"):
        made = Decoder(**settings)
    made.angles = torch.linspace(0.1, 1, WIDTH // HEADS)
    return made.eval()


def write_checkpoint(model: nn.Module, folder: Path, *, shards: int = 3) -> None:
    """In bfloat16, with an index; of tied tensors one name."""
    names = [name for name, _ in model.named_parameters()]
    tensors, files = dict(model.named_parameters()), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        write_tensors(folder / file, {name: tensors[name].detach().bfloat16() for name in part})
        files |= dict.fromkeys(part, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": files})


def language_task(count: int = 3) -> Task:
    """Batches of different sizes."""
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randint(0, WORDS, (2 + i, 6 + i), generator=generator) for i in range(count)]
    return Task(evaluate=[Batch(args=(ids,)) for ids in batches])
