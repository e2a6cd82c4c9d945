"""Attention, recurrent and token networks that have broken a pruning tool."""

import torch
from torch import nn
from torch.nn import functional

from .made import Made, image, tokens, weight


def transformer_layer():
    layer = nn.TransformerEncoderLayer(12, 3, 10, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Linear(4, 12), layer, nn.Linear(12, 2)), (tokens(4),)


def cross_attention():
    def forward(m, x, y):
        return m.head(m.attend(m.embed(x), y, y, need_weights=False)[0])

    attend = nn.MultiheadAttention(12, 3, kdim=5, vdim=5, batch_first=True)
    return Made(forward, embed=nn.Linear(4, 12), attend=attend, head=nn.Linear(12, 2)), (tokens(4), tokens(5, 6))


def averaged_attention_weights():
    def forward(m, x):
        return m.head(m.attend(x, x, x)[0])

    return Made(forward, attend=nn.MultiheadAttention(12, 3, batch_first=True), head=nn.Linear(12, 2)), (tokens(),)


def fused_qkv():
    def forward(m, x):
        b, n, _ = x.shape
        q, k, v = m.qkv(x).reshape(b, n, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * 0.5) @ k.transpose(-2, -1)
        return m.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, 12))

    return Made(forward, qkv=nn.Linear(12, 36), out=nn.Linear(12, 2)), (tokens(),)


def grouped_query_attention():
    def forward(m, x):
        b, n, _ = x.shape
        q = m.q(x).view(b, n, 6, 4).transpose(1, 2)
        k, v = (p(x).view(b, n, 2, 4).transpose(1, 2) for p in (m.k, m.v))
        k, v = (t[:, :, None].expand(b, 2, 3, n, 4).reshape(b, 6, n, 4) for t in (k, v))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return m.out(y.transpose(1, 2).contiguous().view(b, n, -1))

    parts = {"q": nn.Linear(12, 24), "k": nn.Linear(12, 8), "v": nn.Linear(12, 8), "out": nn.Linear(24, 2)}
    return Made(forward, **parts), (tokens(),)


def native_grouped_query_attention():
    def forward(m, x):
        b, n, _ = x.shape
        q = m.q(x).view(b, n, 6, 4).transpose(1, 2)
        k, v = (p(x).view(b, n, 2, 4).transpose(1, 2) for p in (m.k, m.v))
        y = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return m.out(y.transpose(1, 2).flatten(2))

    parts = {"q": nn.Linear(12, 24), "k": nn.Linear(12, 8), "v": nn.Linear(12, 8), "out": nn.Linear(24, 2)}
    return Made(forward, **parts), (tokens(),)


def rotary_attention():
    def turned(x, cos, sin):
        a, b = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(m, x):
        b, n, _ = x.shape
        q, k, v = (p(x).view(b, n, 2, 6).transpose(1, 2) for p in (m.q, m.k, m.v))
        angles = torch.arange(n)[:, None] * m.frequencies[None]
        angles = torch.cat([angles, angles], -1)
        q, k = (turned(t, angles.cos(), angles.sin()) for t in (q, k))
        y = functional.scaled_dot_product_attention(q, k, v)
        return m.out(y.transpose(1, 2).reshape(b, n, 12))

    parts = {"q": nn.Linear(12, 12), "k": nn.Linear(12, 12), "v": nn.Linear(12, 12), "out": nn.Linear(12, 2)}
    model = Made(forward, **parts)
    model.register_buffer("frequencies", torch.rand(3))
    return model, (tokens(),)


def linear_attention():
    def forward(m, x):
        q, k = functional.elu(m.q(x)) + 1, functional.elu(m.k(x)) + 1
        state = torch.einsum("bnd,bne->bde", k, m.v(x))
        return m.out(torch.einsum("bnd,bde->bne", q, state) / (q * k.sum(1, keepdim=True)).sum(-1, keepdim=True))

    parts = {"q": nn.Linear(6, 8), "k": nn.Linear(6, 8), "v": nn.Linear(6, 10), "out": nn.Linear(10, 2)}
    return Made(forward, **parts), (tokens(6),)


def tied_embedding():
    def forward(m, x):
        y = m.embed(x)
        return functional.linear(y + m.down(functional.gelu(m.up(m.norm(y)))), m.embed.weight)

    parts = {"embed": nn.Embedding(9, 8), "norm": nn.LayerNorm(8), "up": nn.Linear(8, 12), "down": nn.Linear(12, 8)}
    return Made(forward, **parts), (torch.randint(9, (2, 5)),)


def lstm():
    def forward(m, x):
        y, (h, _) = m.rnn(x)
        return m.head(y[:, -1]) + m.last(h[-1])

    rnn = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)
    return Made(forward, rnn=rnn, head=nn.Linear(12, 2), last=nn.Linear(6, 2)), (tokens(4),)


def projected_lstm():
    def forward(m, x):
        return m.head(m.rnn(m.embed(x))[0])

    rnn = nn.LSTM(5, 6, batch_first=True, proj_size=3)
    return Made(forward, embed=nn.Linear(4, 5), rnn=rnn, head=nn.Linear(3, 2)), (tokens(4),)


def gru():
    def forward(m, x):
        return m.head(m.second(m.first(x)[0])[0].mean(1))

    first, second = nn.GRU(4, 6, batch_first=True), nn.GRU(6, 5, batch_first=True, bias=False)
    return Made(forward, first=first, second=second, head=nn.Linear(5, 2)), (tokens(4),)


def cells():
    def forward(m, x):
        h = c = x.new_zeros(x.shape[0], 6)
        g = torch.zeros(x.shape[0], 5, dtype=x.dtype)
        for t in range(3):
            h, c = m.lstm(x[:, t], (h, c))
            g = m.gru(h, g)
        return m.head(g)

    return Made(forward, lstm=nn.LSTMCell(4, 6), gru=nn.GRUCell(6, 5), head=nn.Linear(5, 2)), (tokens(4),)


def window_attention():
    def forward(m, x):
        b, h, w, _ = x.shape
        y = torch.roll(m.embed(x), (-1, -1), (1, 2))
        y = y.view(b, h // 2, 2, w // 2, 2, 12).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 12)
        q, k, v = m.qkv(y).reshape(-1, 4, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = m.table[m.places.flatten()].view(4, 4, 3).permute(2, 0, 1)
        y = ((q @ k.transpose(-2, -1) + bias[None]).softmax(-1) @ v).transpose(1, 2).reshape(-1, 4, 12)
        y = m.out(y).view(b, h // 2, w // 2, 2, 2, 12).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, 12)
        merged = torch.cat([y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return m.merge(m.norm(merged))

    parts = {"embed": nn.Linear(3, 12), "qkv": nn.Linear(12, 36), "out": nn.Linear(12, 12), "merge": nn.Linear(48, 2)}
    model = Made(forward, **parts, norm=nn.LayerNorm(48), table=weight(9, 3))
    model.register_buffer("places", torch.randint(9, (4, 4)))
    return model, (torch.randn(2, 4, 4, 3),)


def class_token():
    def forward(m, x):
        y = m.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat([m.token.expand(x.shape[0], -1, -1), y], 1) + m.position
        return m.head(m.norm(y + m.mix(y))[:, 0])

    parts = {
        "patch": nn.Conv2d(3, 8, 4, 4),
        "token": weight(1, 1, 8),
        "position": weight(1, 5, 8),
        "norm": nn.LayerNorm(8),
    }
    return Made(forward, **parts, mix=nn.Linear(8, 8), head=nn.Linear(8, 2)), (image(),)


def mixture_of_experts():
    def forward(m, x):
        gates = m.router(x).softmax(-1)
        hidden = functional.silu(torch.einsum("btd,edh->bteh", x, m.up))
        return torch.einsum("bteh,ehd,bte->btd", hidden, m.down, gates)

    return Made(forward, router=nn.Linear(6, 4), up=weight(4, 6, 8), down=weight(4, 8, 6)), (tokens(6),)


def mlp_mixer():
    def forward(m, x):
        y = m.embed(x)
        y = y + m.tokens(y.transpose(1, 2)).transpose(1, 2)
        return m.head(functional.rms_norm(y, (8,), m.scale).mean(1))

    mixing = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5))
    return Made(forward, embed=nn.Linear(4, 8), tokens=mixing, scale=weight(8), head=nn.Linear(8, 2)), (tokens(4),)


def full_transformer():
    def forward(m, x):
        y = m.embed(x)
        return m.head(m.body(y, y))

    body = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
    return Made(forward, embed=nn.Linear(4, 8), body=body, head=nn.Linear(8, 2)), (tokens(4),)


ALL = (
    transformer_layer,
    cross_attention,
    averaged_attention_weights,
    fused_qkv,
    grouped_query_attention,
    native_grouped_query_attention,
    rotary_attention,
    linear_attention,
    tied_embedding,
    lstm,
    projected_lstm,
    gru,
    cells,
    window_attention,
    class_token,
    mixture_of_experts,
    mlp_mixer,
    full_transformer,
)
