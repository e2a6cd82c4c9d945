"""How long `laconic.advise` takes for a transformer of any size, how much memory, and what it said of both beforehand.

The weights are random, scaled so that answers differ; what is timed does not depend on what they mean, and the nats of
the recommended way tell whether a faster survey chooses as well. Rows: `small` is 256 wide with 4 layers, `medium` 384
wide with 10 (18 M weights), `cut` has four layers of the shape of BERT-base (768 wide, 128 tokens, a vocabulary of
30,522), `base` all twelve; `medium_macs` is `medium` with products limited, too. 256 samples judge, 1,280 are observed.

Times are of the processor, one thread. Goals: `medium` in under 5 minutes, `base` in under 30 and under 8 GiB.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import laconic
import manner

HEAD, CLASSES, BATCH, JUDGED, OBSERVED = 64, 16, 64, 256, 1280
ROWS: dict[str, tuple[int, int, int, int, laconic.Budget]] = {
    "small": (256, 4, 2000, 64, laconic.Budget(size=0.08)),
    "medium": (384, 10, 2000, 64, laconic.Budget(size=0.08)),
    "medium_macs": (384, 10, 2000, 64, laconic.Budget(size=0.3, macs=0.5)),
    "cut": (768, 4, 30522, 128, laconic.Budget(size=0.08)),
    "base": (768, 12, 30522, 128, laconic.Budget(size=0.08)),
}
"""Width, layers, vocabulary, tokens, budget."""


class Block(nn.Module):
    """Self-attention and a hidden layer, each behind a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        q, k, v = (layer(y).unflatten(-1, (-1, HEAD)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.between(x))))


class Transformer(nn.Module):
    """Reads tokens and chooses among a few classes."""

    def __init__(self, width: int, layers: int, vocabulary: int, tokens: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(ids) + self.place)).mean(1))


class Said:
    """Notes what is said of time beforehand, and prints what is going on, with seconds and peak memory so far."""

    def __init__(self) -> None:
        self.expected: list[str] = []
        self._start = time.process_time()

    def begin(self, stage: str) -> None:
        self.say(f"{stage}:")

    def step(self, done: int, total: int, note: str) -> None:
        pass

    def end(self) -> None:
        pass

    def say(self, text: str) -> None:
        if text.startswith("expected: "):
            self.expected.append(text.removeprefix("expected: "))
        print(f"{time.process_time() - self._start:8.1f} s {peak_mb():6} MB  {text}", flush=True)


def peak_mb() -> int:
    """Returns the most memory that this process has held so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@torch.no_grad()
def subject(width: int, layers: int, vocabulary: int, tokens: int) -> tuple[nn.Module, laconic.Task]:
    """Returns a network whose answers differ, and data that it labels itself."""
    torch.manual_seed(0)
    model = Transformer(width, layers, vocabulary, tokens).eval()
    for block in model.blocks:
        for parameter in block.parameters():
            parameter.mul_(2 if parameter.dim() > 1 else 1)
    model.head.weight.mul_(12)
    batches = torch.randint(vocabulary, (OBSERVED, tokens)).split(BATCH)
    judged = [(batch, model(batch).argmax(1)) for batch in batches[: JUDGED // BATCH]]
    return model, laconic.Task(evaluate=judged, calibrate=list(batches))


def advised(width: int, layers: int, vocabulary: int, tokens: int, budget: laconic.Budget) -> dict[str, Any]:
    """Returns how long the advice took, and what it came to."""
    model, task = subject(width, layers, vocabulary, tokens)
    said, started = Said(), time.process_time()
    advice = laconic.advise(model, task, budget, progress=said)
    best = next(way for way in advice.ways if way.verdict == "recommended")
    return {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(time.process_time() - started),
        "peak_mb": peak_mb(),
        "expected": said.expected,
        "best": str(best.plan),
        "nats": best.nats,
        "ways": len([way for way in advice.ways if way.nats is not None]),
    }


def main() -> None:
    """Runs `small`, or the rows that are asked for."""
    given = manner.options(__doc__ or "", list(ROWS), seeds=1)
    torch.set_num_threads(1)
    rows = given.only or ["small"]
    manner.finish({row: advised(*ROWS[row]) for row in rows})


if __name__ == "__main__":
    main()
