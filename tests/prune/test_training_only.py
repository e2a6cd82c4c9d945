import torch
from torch import nn

from laconic.prune import prune


class Masked(nn.Module):
    """In training some steps are replaced by a vector that evaluation never reads."""

    def __init__(self, width=8):
        super().__init__()
        self.into, self.out = nn.Linear(3, 8), nn.Linear(8, 2)
        self.mask = nn.Parameter(torch.randn(width))

    def forward(self, x):
        y = self.into(x).relu()
        if self.training:
            y = torch.where(torch.rand(y.shape[:-1]).unsqueeze(-1) < 0.5, self.mask, y)
        return self.out(y)


def test_parameter_that_only_training_reads_is_cut_with_what_it_stands_for():
    torch.manual_seed(0)
    model, x = Masked().eval(), torch.randn(4, 5, 3)
    state = torch.get_rng_state()
    pruned = prune(model, x, ratio=0.5)
    assert torch.equal(torch.get_rng_state(), state) and not pruned.model.training
    (kept,) = pruned.keep.values()
    assert pruned.kind == "module" and torch.equal(pruned.model.mask, model.mask[kept])
    pruned.model.train()(x).sum().backward()
    assert pruned.model.mask.grad.shape == (4,)


def test_parameter_that_nothing_reads_keeps_its_shape():
    class Unread(Masked):
        def forward(self, x):
            return self.out(self.into(x).relu())

    pruned = prune(Unread(), torch.randn(4, 5, 3), ratio=0.5)
    assert pruned.kind == "module" and pruned.model.mask.shape == (8,)


def test_model_whose_training_can_not_follow_the_cut_becomes_a_graph():
    class Reshaped(Masked):
        def forward(self, x):
            return super().forward(x) + (self.mask.view(2, 4).sum() if self.training else 0)

    pruned = prune(Reshaped(), torch.randn(4, 5, 3), ratio=0.5)
    assert pruned.kind == "graph" and "reads parameters that evaluation does not" in pruned.why
