"""Which library does a sentence come from? A bag of embeddings on docstrings of installed libraries."""

import ast
import random
import re
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import laconic

LIBRARIES = ("sklearn", "scipy", "networkx", "sympy")
WORDS, LENGTH, SENTENCES = 8192, 24, 1500


def sentences(library: str) -> Iterator[str]:
    """Yields the sentences of a library's docstrings."""
    (root,) = find_spec(library).submodule_search_locations
    for path in sorted(Path(root).rglob("*.py"))[:250]:
        for node in ast.walk(ast.parse(path.read_text(errors="replace"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                yield from re.split(r"(?<=[.:])\s+", ast.get_docstring(node) or "")


def encoded(sentence: str) -> list[int]:
    """Returns word numbers by hashing; 0 fills up."""
    words = re.findall(r"[a-z]+", sentence.lower())[:LENGTH]
    return [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in words] + [0] * (LENGTH - len(words))


def dataset() -> tuple[Tensor, Tensor]:
    """Returns word numbers `[n, LENGTH]` and libraries `[n]`, shuffled."""
    rows = []
    for label, library in enumerate(LIBRARIES):
        found = {s for s in sentences(library) if len(s.split()) >= 6}
        rows += [(encoded(s), label) for s in random.Random(0).sample(sorted(found), SENTENCES)]
    random.Random(0).shuffle(rows)
    return torch.tensor([x for x, _ in rows]), torch.tensor([y for _, y in rows])


class Classifier(nn.Module):
    """Mean of the words' embeddings, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 64, padding_idx=0)
        self.hidden = nn.Linear(64, 128)
        self.head = nn.Linear(128, len(LIBRARIES))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Returns logits `[n, libraries]` for word numbers `[n, words]`."""
        present = (input_ids != 0).unsqueeze(-1)
        mean = (self.embedding(input_ids) * present).sum(1) / present.sum(1).clamp(min=1)
        return self.head(torch.relu(self.hidden(mean)))


def trained(*, epochs: int = 4, seed: int = 0) -> tuple[nn.Module, laconic.Task]:
    """Returns the classifier after training, and what it was trained on."""
    x, y = dataset()
    held_out = len(x) // 5
    task = laconic.Task(
        train=DataLoader(TensorDataset(x[held_out:], y[held_out:]), batch_size=64, shuffle=True),
        evaluate=DataLoader(TensorDataset(x[:held_out], y[:held_out]), batch_size=256),
    )
    torch.manual_seed(seed)
    training = laconic.Training(epochs=epochs, seed=seed)
    return laconic.train(Classifier(), task, training, objective=laconic.supervised(task)).model, task


def main(*, epochs: int = 4, recovery_epochs: int = 2, seed: int = 0) -> laconic.Result:
    """Trains, compresses, reports."""
    model, task = trained(epochs=epochs, seed=seed)
    recovery = laconic.Recovery.for_epochs(recovery_epochs, seed=seed)
    return laconic.compress(model, task, laconic.Budget(size=0.2, drop=0.02), recovery=recovery, seed=seed)


if __name__ == "__main__":
    result = main()
    print(result.report.original.score, result.report.compressed.score, result.plan, sep="\n")
