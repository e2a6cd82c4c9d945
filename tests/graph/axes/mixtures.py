"""Mixtures of experts in the ways they are written without a loop over tokens."""

import torch
from torch import nn
from torch.nn import functional

WIDTH, EXPERTS, HIDDEN, CHOSEN = 6, 5, 8, 2


class Mixture(nn.Module):
    """Every expert answers every token; a gate, zero for most, weighs the answers."""

    def __init__(self):
        super().__init__()
        self.num_experts, self.top_k = EXPERTS, CHOSEN
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN) / 2)
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH) / 2)
        self.head = nn.Linear(WIDTH, 3)

    def gates(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(self.top_k, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        return torch.zeros(*x.shape[:-1], self.num_experts).scatter(-1, chosen, weights)

    def answers(self, x):
        return torch.einsum("bteh,ehd->bted", functional.silu(torch.einsum("btd,edh->bteh", x, self.up)), self.down)

    def forward(self, x):
        return self.head(x + torch.einsum("bte,bted->btd", self.gates(x), self.answers(x)))


class OneHot(Mixture):
    def gates(self, x):
        logits, chosen = torch.topk(self.router(x), self.top_k)
        return (functional.one_hot(chosen, self.num_experts) * logits.softmax(-1)[..., None]).sum(-2)


class Sigmoid(Mixture):
    """Scores that are not a distribution, a bias that only helps to choose, scores looked up by the choice."""

    def __init__(self):
        super().__init__()
        self.balance = nn.Parameter(torch.randn(EXPERTS))

    def gates(self, x):
        scores = self.router(x).sigmoid()
        chosen = (scores + self.balance).topk(self.top_k, sorted=False).indices
        return torch.zeros_like(scores).scatter_(-1, chosen, scores.gather(-1, chosen))


class Products(Mixture):
    def answers(self, x):
        batch, length, _ = x.shape
        tokens = x.reshape(1, -1, WIDTH).expand(self.num_experts, -1, -1)
        found = torch.bmm(torch.bmm(tokens, self.up).relu(), self.down)
        return found.reshape(self.num_experts, batch, length, -1).permute(1, 2, 0, 3)


class LookedUp(Mixture):
    """The weights of the chosen experts are gathered for each token."""

    def forward(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(self.top_k, dim=-1)
        hidden = torch.einsum("btd,btkdh->btkh", x, self.up[chosen]).relu()
        return self.head(x + torch.einsum("btkh,btkhd,btk->btd", hidden, self.down[chosen], weights))


class Soft(Mixture):
    """No choice: every expert has its share."""

    def gates(self, x):
        return self.router(x).softmax(-1)


class Inspected(Mixture):
    """The choice itself is an output: which expert has which number can no longer change."""

    def forward(self, x):
        return super().forward(x), self.router(x).topk(self.top_k).indices


class Compared(Mixture):
    """Each expert is asked for by its number."""

    def gates(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(self.top_k)
        return torch.stack([((chosen == e) * weights).sum(-1) for e in range(EXPERTS)], -1)


class Sorted(Mixture):
    """Rows are sorted by expert, and each expert multiplies those between two offsets."""

    def forward(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(self.top_k, dim=-1)
        order = chosen.flatten().argsort(stable=True)
        counts = chosen.flatten()[order].float().histc(bins=self.num_experts, min=0, max=self.num_experts - 1)
        rows, ends = x.reshape(-1, WIDTH)[order // self.top_k], counts.cumsum(0).int()
        found = grouped_rows(grouped_rows(rows, self.up, ends).relu(), self.down, ends)
        answers = torch.zeros_like(found).index_put((order,), found).view(*chosen.shape, WIDTH)
        return self.head(x + (answers * weights[..., None]).sum(-2))


@torch.library.custom_op("laconic_tests::_grouped_mm", mutates_args=())
def grouped_rows(rows: torch.Tensor, experts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """What `torch._grouped_mm` computes, for rows whose strides it refuses."""
    starts = [0, *ends.tolist()[:-1]]
    parts = [rows[a:b] @ expert for a, b, expert in zip(starts, ends.tolist(), experts, strict=True)]
    return torch.cat([*parts, rows.new_zeros(len(rows) - int(ends[-1]), experts.shape[2])])


grouped_rows.register_fake(lambda rows, experts, ends: rows.new_empty(rows.shape[0], experts.shape[2]))
DENSE = {kind.__name__: kind for kind in (Mixture, OneHot, Sigmoid, Products, LookedUp, Sorted, Soft)}
X = torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(0))
