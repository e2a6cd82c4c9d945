"""What a person names on the command line: models and data, right and wrong."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import laconic

NOT_A_FUNCTION = 3


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))


def narrow() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))


def starved() -> nn.Module:
    """Its second layer reads nothing but zeros."""
    model = narrow()
    nn.init.zeros_(model[0].weight)
    nn.init.constant_(model[0].bias, -1.0)
    return model


def no_module() -> str:
    return "a model"


def raising() -> nn.Module:
    raise FileNotFoundError("net.cfg\nis not here")


def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 16, generator=generator)
    return x, x[:, :4].argmax(1)


def loaders() -> tuple[DataLoader, DataLoader]:
    """Shuffled by PyTorch's global generator, which is in another state in every process."""
    torch.seed()
    data = TensorDataset(*pairs())
    return DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=32)


def task() -> laconic.Task:
    train, evaluate = loaders()
    return laconic.Task(train=train, evaluate=evaluate)


def unlabelled() -> laconic.Task:
    x, _ = pairs()
    return laconic.Task(train=[x], evaluate=[x])


def misspelt() -> dict[str, object]:
    return {"evaluate": [pairs()], "metrics": "accuracy"}


def shuffled() -> laconic.Task:
    return laconic.Task(evaluate=loaders()[0])


def out_of_range() -> laconic.Task:
    x, y = pairs()
    return laconic.Task(evaluate=[(x, y + 2)])


def misshapen() -> laconic.Task:
    x, y = pairs()
    return laconic.Task(evaluate=[(x[:, :15], y)])


def empty() -> laconic.Task:
    return laconic.Task(evaluate=[])


def without_weights() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.ReLU())


def not_a_number() -> nn.Module:
    model = build()
    model[0].weight.data[0, 0] = torch.nan
    return model


def hollow() -> nn.Module:
    return build().to("meta")


def linear() -> nn.Module:
    return nn.Linear(16, 4)


class Branching(nn.Module):
    """Decides by the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) if x.sum() > 0 else self.first(-x))


def branching() -> nn.Module:
    return Branching()


class Codes(nn.Module):
    """Integer weights, as a quantised checkpoint has them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("first", torch.ones(8, 16, dtype=torch.int8))
        self.register_buffer("second", torch.ones(4, 8, dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.first.T.to(x.dtype) @ self.second.T.to(x.dtype)


def quantised() -> nn.Module:
    return Codes()


class TwoHeads(nn.Module):
    """Answers one of two questions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 8)
        self.heads = nn.ModuleDict({"four": nn.Linear(8, 4), "two": nn.Linear(8, 2)})

    def forward(self, x: Tensor, head: str) -> Tensor:
        return self.heads[head](self.body(x).relu())


def two_heads() -> nn.Module:
    return TwoHeads()


def sign() -> nn.Module:
    return nn.Linear(16, 2)


def four() -> laconic.Task:
    return laconic.Task(train=[pairs()], evaluate=[pairs()], call=lambda model, batch: model(*batch.args, head="four"))


def many_of_four() -> laconic.Task:
    x, y = pairs()
    batches = list(zip(x.split(16), y.split(16), strict=True))
    return laconic.Task(train=batches, evaluate=[(x, y)], call=lambda model, batch: model(*batch.args, head="four"))


def two() -> laconic.Task:
    x, _ = pairs()
    batch = (x, (x[:, 0] > 0).long())
    return laconic.Task(train=[batch], evaluate=[batch], call=lambda model, batch: model(*batch.args, head="two"))


def talker() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))


def texts() -> laconic.Task:
    ids = torch.randint(9, (4, 5), generator=torch.Generator().manual_seed(0))
    labels = torch.full_like(ids, -100)
    labels[:, 2:-1] = ids[:, 3:]
    return laconic.Task(train=[(ids, labels)], evaluate=[(ids, labels)])


class Reads(nn.Module):
    """Reads words of its own vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids).mean(1))


def reads() -> nn.Module:
    return Reads()


def two_vocabularies() -> laconic.Task:
    generator = torch.Generator().manual_seed(0)
    batch = {
        "ids": torch.randint(9, (8, 5), generator=generator),
        "teacher_ids": torch.randint(9, (8, 7), generator=generator),
        "labels": torch.arange(8) % 3,
    }
    return laconic.Task(train=[batch], evaluate=[batch])


def picture_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def pictures() -> laconic.Task:
    return laconic.Task(evaluate=[(torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))])
