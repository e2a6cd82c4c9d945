"""One layer, one operator, one layer, for many operators in one model: each must keep, or freeze, what it should."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.graph.cutting import cut
from laconic.graph.oracle import cut_error

SPACE = torch.tensor([3, 0, 2, 1])
PAIRS = torch.tensor([[0, 3], [1, 2]])
GRID = torch.linspace(-1, 1, 18, dtype=torch.float64).view(1, 3, 3, 2)


def written_at(x):
    return torch.zeros_like(x).index_put((torch.tensor([0, 1]), SPACE[:2]), x[:, 0])


def complex_turn(x):
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * 1j).flatten(-2)


# operator on [2, 4, 6] tokens, width that comes out, sizes of the axes that stay
ON_TOKENS = {
    "squeeze": (lambda x: x.unsqueeze(1).squeeze(1), 6, [6]),
    "movedim": (lambda x: x.movedim(1, 2).movedim((0, 2), (0, 1)), 6, [6]),
    "swapaxes": (lambda x: x.swapaxes(1, 2).mT, 6, [6]),
    "tile": (lambda x: x.tile(1, 1, 2), 12, [2, 6]),
    "narrow": (lambda x: x.narrow(-1, 1, 4), 4, [4]),
    "negative slice": (lambda x: x[..., -2:], 2, [2, 4]),
    "strided slice": (lambda x: x[..., 1::2], 3, [3]),
    "tensor_split": (lambda x: torch.cat(torch.tensor_split(x, (2,), -1)[::-1], -1), 6, []),
    "unequal chunks": (lambda x: torch.cat(x.chunk(4, -1)[::-1], -1), 6, [2, 2, 2]),
    "stack": (lambda x: torch.stack([x, -x], -1).flatten(-2), 12, [6]),
    "stack before": (lambda x: torch.stack([x, -x], -2).flatten(-2), 12, [6]),
    "crop": (lambda x: functional.pad(x, (-1, -1)), 4, []),
    "pad": (lambda x: functional.pad(x, (2, 1), value=0.5), 9, [2, 6]),
    "index_select": (lambda x: x.index_select(1, SPACE), 6, [6]),
    "two indices": (lambda x: x[:, PAIRS].mean(2), 6, [6]),
    "index_put": (written_at, 6, [6]),
    "take_along_dim": (lambda x: x.take_along_dim(SPACE[None, :, None], 1), 6, [6]),
    "index_add": (lambda x: x.index_add(1, SPACE[:2], x[:, :2]), 6, [6]),
    "slice_scatter": (lambda x: torch.slice_scatter(x, x[..., :2] * 2, -1, 2, 4), 6, [2, 2]),
    "select_scatter": (lambda x: torch.select_scatter(x, x[:, 0] * 2, 1, 2), 6, [6]),
    "complex pairs": (complex_turn, 6, [3]),
    "baddbmm": (lambda x: torch.baddbmm(x, x @ x.mT, x), 6, [6]),
    "argmax": (lambda x: x + x.argmax(-1, keepdim=True), 6, []),
    "maximum": (lambda x: x - x.max(-1, keepdim=True)[0], 6, [6]),
    "maximum with its place": (lambda x: x - x.max(-1, keepdim=True)[0] * x.max(-1, keepdim=True)[1], 6, []),
    "running sum": (lambda x: (x + 0.3).cumsum(-1), 6, [6]),
    "selection that nobody reads": (lambda x: x * len(x[0, :, 0]), 6, [6]),
    "amax": (lambda x: x - x.amax(-1, keepdim=True), 6, [6]),
    "variance": (lambda x: x / (1 + x.var(-1, keepdim=True)), 6, [6]),
    "masked": (lambda x: x.masked_fill(x.mean(-1, keepdim=True) > 0, 0.5), 6, [6]),
    "where": (lambda x: torch.where(x > 0, x, x * 0.1), 6, [6]),
    "topk over space": (lambda x: x.topk(2, 1)[0], 6, [6]),
    "window over space": (lambda x: x.unfold(1, 2, 1).mean(-1), 6, [6]),
    "spectrum over space": (lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * 2, n=4, dim=1), 6, [6]),
    "spectrum": (lambda x: torch.fft.rfft2(x, dim=(1, 2)).abs(), 4, []),
    "distances": (lambda x: torch.cdist(x, 2 * x) @ x, 6, [6]),
    "kronecker": (lambda x: torch.kron(x, torch.ones(1, 1, 2, dtype=x.dtype)), 12, [2, 6]),
    "ellipsis": (lambda x: torch.einsum("...ni,...nj,...ni->...nj", x, x, x), 6, [6]),
    "diagonal": (lambda x: torch.diagonal(x[:, :, None] * x[..., None], dim1=2, dim2=3), 6, []),
}
# operator on [2, 8, 4, 4] images, channels that come out, sizes of the axes that stay
ON_IMAGES = {
    "channel_shuffle": (lambda x: functional.channel_shuffle(x, 2), 8, [2, 4]),
    "max pooling with places": (lambda x: functional.max_pool2d(x, 2, return_indices=True)[0], 8, [8]),
    "unfold": (lambda x: functional.unfold(x, 2).unflatten(-1, (3, 3)), 32, [8]),
    "fold": (lambda x: functional.fold(functional.unfold(x, 2, stride=2), (4, 4), 2, stride=2), 8, [8]),
    "grid_sample": (lambda x: functional.grid_sample(x, GRID.expand(len(x), -1, -1, -1)), 8, [8]),
    "reflection": (lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"), 8, [8]),
    "nearest": (lambda x: functional.interpolate(x, scale_factor=2), 8, [8]),
    "response norm": (lambda x: functional.local_response_norm(x, 3), 8, []),
    "adaptive maximum": (lambda x: functional.adaptive_max_pool2d(x, 2), 8, [8]),
}


class Between(nn.Module):
    def __init__(self, operator, first, second):
        super().__init__()
        self.operator, self.first, self.second = operator, first, second

    def forward(self, x):
        return self.second(self.operator(self.first(x)))


class Bench(nn.Module):
    """All of them side by side, so that one capture is enough."""

    def __init__(self):
        super().__init__()
        tokens = [Between(f, nn.Linear(3, 6), nn.Linear(out, 2)) for f, out, _ in ON_TOKENS.values()]
        images = [Between(f, nn.Conv2d(3, 8, 1), nn.Conv2d(out, 2, 1)) for f, out, _ in ON_IMAGES.values()]
        self.tokens, self.images = nn.ModuleList(tokens), nn.ModuleList(images)

    def forward(self, tokens, image):
        return [m(tokens) for m in self.tokens], [m(image) for m in self.images]


@pytest.fixture(scope="module")
def bench():
    torch.manual_seed(0)
    inputs = (torch.randn(2, 4, 3).double(), torch.randn(2, 3, 4, 4).double())
    return axes(capture(Bench().double(), inputs)), inputs


@pytest.mark.parametrize("name", [*ON_TOKENS, *ON_IMAGES])
def test_what_can_be_cut_is_found_and_cuts_exactly(bench, name):
    found, inputs = bench
    listing, kind = (ON_TOKENS, "tokens") if name in ON_TOKENS else (ON_IMAGES, "images")
    prefix = f"{kind}.{list(listing).index(name)}."
    own = [axis for axis in found if axis.name.startswith(prefix)]
    assert sorted(axis.size for axis in own) == listing[name][2]
    keep = {axis: torch.randperm(axis.size)[: max(1, axis.size // 2)] for axis in own}
    assert cut_error(found, keep, cut(found, keep), inputs, {}) < 1e-12
