"""Chinese news titles: a convolutional network over character vectors teaches a bag of characters and pairs of them.

THUCNews titles in 10 classes: 44,872 for training, 10,000 dev titles to watch, all 10,000 test titles for the figures
after the last epoch. The teacher is a TextCNN over public 200-dimensional character vectors; its answers lie on disk.
The student looks up one short vector for each character and each hashed pair of neighbours, and adds them up. It is
trained on labels, and on labels and the teacher's soft labels, with the same start, batches and steps. Bytes are those
of the weights in float32; latency is the median time of one title in PyTorch with one thread, the two in turn. With
`--work FOLDER` every run goes on where it was stopped.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import laconic
import manner
from laconic.distill import SoftLabels
from laconic.train import AdamW, Training, cached_teacher, distillation, supervised, train

LENGTH, BUCKETS, WIDTH, FILTERS = 24, 40_000, 24, 96
TEACHER_EPOCHS, EPOCHS, TEMPERATURE = 3, 8, 3.0
PAD, UNKNOWN = 0, 1


class TextCnn(nn.Module):
    """Kim 2014, arXiv:1408.5882, over characters."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=PAD)
        self.convolutions = nn.ModuleList(nn.Conv1d(vectors.shape[1], FILTERS, width) for width in (2, 3, 4))
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(3 * FILTERS, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).mT
        return self.head(self.dropout(torch.cat([f(x).relu().amax(-1) for f in self.convolutions], -1)))


class Bag(nn.Module):
    """A vector for each character and each pair of neighbours, added up."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters + BUCKETS, WIDTH, padding_idx=PAD)
        self.characters, self.head = characters, nn.Linear(WIDTH, 10)

    def forward(self, ids: Tensor) -> Tensor:
        pairs = (ids[:, :-1] * 31_337 + ids[:, 1:]) % BUCKETS + self.characters
        pairs = pairs.where(ids[:, 1:] != PAD, PAD)
        return self.head(self.embed(torch.cat([ids, pairs], 1)).sum(1))


def titles() -> tuple[laconic.Task, laconic.Task, Tensor]:
    """Returns the task with the test titles, the one with the dev titles, and the vectors of the characters."""
    read = manner.shared_data()
    known = np.load(manner.DATA / "zh_char_embedding_tencent_200d_f16.npz", allow_pickle=False)
    places = {character: i + 2 for i, character in enumerate(known["chars"].tolist())}
    vectors = torch.from_numpy(known["embeddings"].astype(np.float32))
    vectors = torch.cat([torch.zeros(2, vectors.shape[1]), vectors])

    def loader(split: str, *, shuffle: bool) -> DataLoader[Any]:
        texts, labels = read.thucnews(split)
        rows = [[places.get(character, UNKNOWN) for character in text[:LENGTH]] for text in texts]
        ids = torch.tensor([row + [PAD] * (LENGTH - len(row)) for row in rows])
        data = TensorDataset(ids, torch.from_numpy(labels).long())
        order = RandomSampler(data) if shuffle else SequentialSampler(data)
        # Whole batches are looked up at once: a title is so short that collecting them one by one would take longer.
        return DataLoader(data, sampler=BatchSampler(order, 128, drop_last=False), batch_size=None)

    train = loader("train45k", shuffle=True)
    tested, watched = (laconic.Task(train=train, evaluate=loader(part, shuffle=False)) for part in ("test", "dev"))
    return tested, watched, vectors


def accuracy(model: nn.Module, task: laconic.Task) -> float:
    """Returns the share of titles that are classified right, in percent."""
    with torch.no_grad():
        hits = [(task.forward(model, b).argmax(-1) == b.labels).float() for b in task.batches("evaluate")]
    return round(100 * torch.cat(hits).mean().item(), 2)


def milliseconds(models: dict[str, nn.Module], title: Tensor, rounds: int = 300) -> dict[str, float]:
    """Returns the median time of one title, the models in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.no_grad():
        for _ in range(rounds):
            for name, model in models.items():
                begun = time.perf_counter()
                model(title)
                seconds[name].append(time.perf_counter() - begun)
    return {name: round(1e3 * statistics.median(values), 3) for name, values in seconds.items()}


def size_bytes(model: nn.Module) -> int:
    return sum(4 * parameter.numel() for parameter in model.parameters())


def main() -> None:
    """Trains teacher and students."""
    folder = manner.work_folder()
    given = manner.options(__doc__ or "", ["labels", "distilled"], seeds=3)
    torch.set_num_threads(1)
    task, watched, vectors = titles()
    torch.manual_seed(0)
    teacher: nn.Module = TextCnn(vectors)
    training = Training(epochs=TEACHER_EPOCHS, optimizer=AdamW(learning_rate=1e-3))
    train(teacher, task, training, objective=supervised(task), work=folder / "teacher")
    teacher_accuracy = accuracy(teacher, task)
    manner.line("teacher", f"{teacher_accuracy:.2f} %", f"{size_bytes(teacher):,} B")
    answers = cached_teacher(teacher, task, folder / "answers")
    taught = distillation(answers, task, SoftLabels(temperature=TEMPERATURE, hard_weight=0.3))
    found: dict[str, list[float]] = {}
    student: nn.Module = Bag(len(vectors))
    for row in given.rows:
        objective = taught if row == "distilled" else supervised(task)
        for seed in given.seeds:
            torch.manual_seed(seed)
            student = Bag(len(vectors))
            training = Training(epochs=EPOCHS, optimizer=AdamW(learning_rate=5e-3, weight_decay=0.0), seed=seed)
            train(student, task, training, objective=objective, work=folder / f"{row} {seed}")
            found.setdefault(row, []).append(accuracy(student, task))
        manner.line(row, *(f"{value:.2f} %" for value in found[row]))
    times = milliseconds({"teacher": teacher, "student": student}, next(iter(task.batches("evaluate"))).args[0][:1])
    manner.finish(
        {
            "teacher": {"accuracy": teacher_accuracy, "bytes": size_bytes(teacher), "milliseconds": times["teacher"]},
            "student": {"bytes": size_bytes(student), "milliseconds": times["student"], "accuracies": found},
            "dev_accuracy": {"teacher": accuracy(teacher, watched), "student": accuracy(student, watched)},
            "cache_bytes": answers.size_bytes,
            "seeds": len(given.seeds),
            "epochs": {"teacher": TEACHER_EPOCHS, "student": EPOCHS},
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
