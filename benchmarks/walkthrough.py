"""The walk-through of docs/choosing.md: what `advise` says of an image model and of a text model, and what comes of it.

`digits` is the network and the budget of `make demo`. `titles` is a small transformer over the characters of Chinese
news titles (THUCNews, 44,872 for training, 10,000 for evaluation), trained here for two epochs. Each is advised, then
compressed with the same budget; recovery is short. Prints the advice as Markdown before the table.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import laconic
import manner
from laconic.demo import BUDGET, RECOVERY_EPOCHS, digits, trained_network
from laconic.report import advice_to_markdown
from laconic.train import supervised, train

LENGTH, CHARACTERS, WIDTH, HEADS, LAYERS, EPOCHS = 24, 4000, 96, 4, 2, 2
TITLES_BUDGET = laconic.Budget(size=0.1, latency=0.8, drop=0.01)
PAD, UNKNOWN = 0, 1


class Block(nn.Module):
    """Self-attention and a hidden layer, each behind a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in self.qkv(self.before(x)).chunk(3, -1))
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.between(x))))


class Titles(nn.Module):
    """A transformer that reads the characters of a title."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(CHARACTERS, WIDTH), nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(ids) + self.place)).mean(1))


def titles() -> laconic.Task:
    """Returns titles as numbers of characters, the rarer ones all alike."""
    read = manner.shared_data().thucnews
    texts, _ = read("train45k")
    counted = Counter(character for text in texts for character in text)
    known = {character: i for i, (character, _) in enumerate(counted.most_common(CHARACTERS - 2), UNKNOWN + 1)}

    def loader(split: str, *, shuffle: bool) -> DataLoader[Any]:
        texts, labels = read(split)
        rows = [[known.get(c, UNKNOWN) for c in text[:LENGTH]] + [PAD] * (LENGTH - len(text)) for text in texts]
        return DataLoader(TensorDataset(torch.tensor(rows), torch.from_numpy(labels).long()), 128, shuffle=shuffle)

    return laconic.Task(train=loader("train45k", shuffle=True), evaluate=loader("dev", shuffle=False))


def prepared(row: str) -> tuple[nn.Module, laconic.Task, laconic.Budget, int]:
    """Returns a trained model, its task, a budget, and the epochs of recovery."""
    if row == "digits":
        task = digits()
        return trained_network(task), task, BUDGET, RECOVERY_EPOCHS
    task = titles()
    torch.manual_seed(0)
    training = laconic.Training(epochs=EPOCHS, optimizer=laconic.AdamW(learning_rate=1e-3))
    return train(Titles(), task, training, objective=supervised(task)).model, task, TITLES_BUDGET, 1


def main() -> None:
    """Runs the rows."""
    given = manner.options(__doc__ or "", ["digits", "titles"], seeds=1)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for row in given.rows:
        model, task, budget, epochs = prepared(row)
        recovery, start = laconic.Recovery.for_epochs(epochs), time.process_time()
        advice = laconic.advise(model, task, budget, recovery=recovery)
        advised = time.process_time()
        print(advice_to_markdown(advice))
        result = laconic.compress(model, task, budget, recovery=recovery)
        original, small = result.report.original, result.report.compressed
        assert original.score is not None and small.score is not None and small.divergence is not None
        results[row] = {
            "budget": str(budget),
            "met": result.met,
            "plan": next(one.plan for one in result.report.attempts if one.accepted),
            "attempts": len(result.report.attempts),
            "size_ratio": (small.size_bytes or 0) / (original.size_bytes or 1),
            "time_ratio": small.latency[1].median_ms / original.latency[1].median_ms,
            "accuracy": [original.score.value, small.score.value],
            "nats": small.divergence.kl_nats,
            "steps": [[step.done, step.nats, step.macs] for step in result.report.steps],
            "processor_seconds": {"advise": advised - start, "compress": time.process_time() - advised},
        }
        manner.line(row, results[row]["plan"])
    manner.finish(results)


if __name__ == "__main__":
    main()
