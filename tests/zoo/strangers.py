"""Networks as people write them, that no rule was made for: tried after the rules were there."""

import math
import warnings
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import weight_norm

from graph.axes.made import Made, image, tokens, weight

from .entry import Entry


class ChannelAttention(nn.Module):
    """CBAM: an MLP over mean and maximum, then a map from the maximum over channels."""

    def __init__(self, width):
        super().__init__()
        self.down, self.up, self.place = nn.Linear(width, 4), nn.Linear(4, width), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x):
        seen = [self.up(functional.relu(self.down(y))) for y in (x.mean((2, 3)), x.amax((2, 3)))]
        x = x * (seen[0] + seen[1]).sigmoid()[:, :, None, None]
        return x * self.place(torch.stack([x.max(1)[0], x.mean(1)], 1)).sigmoid()


def attention_over_maxima():
    body = [nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), ChannelAttention(12), nn.Conv2d(12, 16, 3), nn.ReLU()]
    return nn.Sequential(*body, ChannelAttention(16), nn.Conv2d(16, 2, 1)), (image(),)


class Standardised(nn.Conv2d):
    """Weights of zero mean and unit variance, as in networks without normalisation."""

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        scaled = (self.weight - mean) * torch.rsqrt(variance * self.weight[0].numel() + 1e-4)
        return self._conv_forward(x, scaled, self.bias)


def standardised_weights():
    body = [Standardised(3, 8, 3), nn.GELU(), Standardised(8, 12, 3), nn.GELU(), nn.Flatten(), nn.Linear(12 * 16, 2)]
    return nn.Sequential(*body), (image(),)


def older_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = [weight_norm(nn.Conv1d(i, o, 3, padding=2, dilation=2)) for i, o in ((12, 16), (16, 16))]
    body = [layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*body), (tokens().transpose(1, 2),)


def masked_steps():
    def forward(m, x):
        y = functional.gelu(m.into(x))
        if m.training:
            y = torch.where(torch.rand(y.shape[:-1]).unsqueeze(-1) < 0.5, m.mask, y)
        return m.out(y)

    return Made(forward, into=nn.Linear(6, 12), mask=weight(12), out=nn.Linear(12, 2)), (tokens(6),)


def gated_dilations():
    """WaveNet: gates, sums of skips, and a residual beside each."""

    def forward(m, x):
        x, skipped = m.first(x), 0
        for i, (gate, back, skip) in enumerate(zip(m.gates, m.back, m.skips, strict=True)):
            tanh, sigmoid = gate(functional.pad(x, (2**i, 0))).chunk(2, 1)
            z = tanh.tanh() * sigmoid.sigmoid()
            x, skipped = x + back(z), skipped + skip(z)
        return m.last(functional.relu(skipped))

    gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(3))
    back, skips = (nn.ModuleList(nn.Conv1d(8, width, 1) for _ in range(3)) for width in (8, 12))
    parts = {"gates": gates, "back": back, "skips": skips}
    return Made(forward, first=nn.Conv1d(6, 8, 1), last=nn.Conv1d(12, 2, 1), **parts), (tokens(6, 9).transpose(1, 2),)


def codebook():
    """VQ-VAE: the nearest entry takes the place of each vector, and gradients pass by."""

    def forward(m, x):
        z = m.encode(x).permute(0, 2, 3, 1)
        nearest = torch.cdist(z.flatten(0, 2), m.entries.weight).argmin(-1)
        found = m.entries(nearest).view(z.shape)
        return m.decode((z + (found - z).detach()).permute(0, 3, 1, 2)), functional.mse_loss(found, z.detach())

    encode = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 6, 1))
    decode = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 1))
    return Made(forward, encode=encode, entries=nn.Embedding(10, 6), decode=decode), (image(),)


def modulated_by_words():
    """FiLM: a recurrent network's last state scales and shifts channels."""

    def forward(m, x, words):
        scale, shift = m.modulate(m.words(words)[1][-1])[:, :, None, None].chunk(2, 1)
        return m.out(functional.relu((1 + scale) * m.norm(m.image(x)) + shift).mean((2, 3)))

    norm = nn.BatchNorm2d(12, affine=False)
    parts = {"words": nn.GRU(6, 10, batch_first=True), "modulate": nn.Linear(10, 24), "norm": norm}
    return Made(forward, image=nn.Conv2d(3, 12, 3), out=nn.Linear(12, 3), **parts), (image(), tokens(6))


def made_weights():
    """One network makes another's weights."""

    def forward(m, x, condition):
        made = m.maker(condition)
        return m.out(torch.bmm(functional.relu(m.into(x)), made[:, :96].view(-1, 8, 12)) + made[:, None, 96:])

    maker = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 108))
    return Made(forward, into=nn.Linear(6, 8), maker=maker, out=nn.Linear(12, 2)), (tokens(6), torch.randn(2, 4))


def crossed_features():
    """DLRM: bags of embeddings and dense features, multiplied pairwise."""

    def forward(m, dense, ids):
        rows = torch.stack([m.dense(dense), *(bag(ids[:, i]) for i, bag in enumerate(m.bags))], 1)
        crossed = (rows @ rows.mT)[:, m.first, m.second]
        return m.top(torch.cat([rows[:, 0], crossed], 1)).sigmoid()

    bags = nn.ModuleList(nn.EmbeddingBag(20, 8, mode="sum") for _ in range(3))
    dense = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))
    top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))
    model = Made(forward, bags=bags, dense=dense, top=top)
    for name, index in zip(("first", "second"), torch.tril_indices(4, 4, -1), strict=True):
        model.register_buffer(name, index)
    return model, (torch.randn(4, 5), torch.randint(0, 20, (4, 3, 2)))


class Grouped(nn.Module):
    """Rotary attention whose queries share keys, with a root-mean-square norm, all written by hand."""

    def __init__(self, width=16, heads=4, shared=2):
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = heads, shared, width // heads
        self.scale = nn.Parameter(torch.ones(width))
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, shared * self.head_dim, bias=False) for _ in range(2))
        angles = torch.outer(torch.arange(8.0), 0.5 ** torch.arange(self.head_dim // 2))
        self.register_buffer("cos", angles.cos()[:, None], persistent=False)
        self.register_buffer("sin", angles.sin()[:, None], persistent=False)

    def turned(self, x):
        first, second = x.chunk(2, -1)
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    def forward(self, x):
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scale
        q = self.turned(self.q(y).view(*y.shape[:2], -1, self.head_dim)).transpose(1, 2)
        k, v = (layer(y).view(*y.shape[:2], -1, self.head_dim) for layer in (self.k, self.v))
        k, v = (z.transpose(1, 2).repeat_interleave(2, 1) for z in (self.turned(k), v))
        weights = (q @ k.mT / math.sqrt(4) + torch.full((x.shape[1],) * 2, -math.inf).triu(1)).softmax(-1)
        return x + self.o((weights @ v).transpose(1, 2).flatten(2))


def rotary_by_hand():
    body = [nn.Linear(6, 16), Grouped(), Grouped(), nn.Linear(16, 48), nn.SiLU(), nn.Linear(48, 3)]
    return nn.Sequential(*body), (tokens(6),)


def experts_by_number():
    """Each expert of a list is given the tokens that chose it."""

    def forward(m, x):
        x = m.into(x).flatten(0, 1)
        weights, chosen = m.router(x).softmax(-1).topk(2)
        mixed = torch.zeros_like(x)
        for i, expert in enumerate(m.experts):
            token, place = torch.where(chosen == i)
            mixed[token] += weights[token, place, None] * expert(x[token])
        return m.out(x + mixed)

    experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(4))
    parts = {"router": nn.Linear(8, 4), "experts": experts, "out": nn.Linear(8, 2)}
    return Made(forward, into=nn.Linear(6, 8), **parts), (tokens(6),)


ALL = (
    *(attention_over_maxima, standardised_weights, older_weight_norm, masked_steps, gated_dilations, codebook),
    *(modulated_by_words, made_weights, crossed_features, rotary_by_hand, experts_by_number),
)
ENTRIES = tuple(Entry(f"stranger/{make.__name__}", partial(make), coarse=True) for make in ALL)
