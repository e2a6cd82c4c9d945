"""Small models with blocks that can be left out, for tests of depth."""

import torch
from torch import nn
from torch.nn import functional


class PreNorm(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.dropout(self.mlp(self.norm2(x)))


class PostNorm(PreNorm):
    def forward(self, x):
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.mlp(x))


class Transformer(nn.Module):
    def __init__(self, layer=PreNorm, width=8, depth=2):
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.position = nn.Parameter(torch.randn(6, width))
        self.layers = nn.ModuleList([layer(width) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, ids):
        x = self.embed(ids) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class Basic(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.project = None
        if inputs != outputs:
            self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.project is None else self.project(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1), Basic(8, 12, 2), Basic(12, 12, 1))
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.body(functional.relu(self.stem(x))).mean((2, 3)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.down(functional.gelu(self.up(y))) * self.scale).permute(0, 3, 1, 2)


class Twice(nn.Module):
    """One residual layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = x + self.layer(x)
        return self.head(x + self.layer(x))


class GroupedDecoder(nn.Module):
    """Causal self-attention whose two key and value heads serve six query heads, without any module around it."""

    def __init__(self, width=16, heads=6, groups=2, each=4):
        super().__init__()
        self.heads, self.groups, self.each = heads, groups, each
        self.norm = nn.RMSNorm(width)
        self.q, self.k = nn.Linear(width, heads * each, bias=False), nn.Linear(width, groups * each, bias=False)
        self.v, self.o = nn.Linear(width, groups * each, bias=False), nn.Linear(heads * each, width, bias=False)
        self.gate, self.up = nn.Linear(width, 24, bias=False), nn.Linear(width, 24, bias=False)
        self.down = nn.Linear(24, width, bias=False)

    def forward(self, x):
        batch, length, _ = x.shape
        y = self.norm(x)
        q = self.q(y).view(batch, length, self.heads, self.each).transpose(1, 2)
        k = self.k(y).view(batch, length, self.groups, self.each).transpose(1, 2)
        v = self.v(y).view(batch, length, self.groups, self.each).transpose(1, 2)
        k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.o(mixed.reshape(batch, length, -1))
        return x + self.down(functional.silu(self.gate(x)) * self.up(x))


IDS = torch.arange(12).reshape(2, 6)
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
