"""Convolutional and plain networks that have broken a pruning tool."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from .made import Made, image, tokens, weight


def plain_cnn():
    body = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return nn.Sequential(*body, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), (image(),)


def padded_shortcut():
    def forward(m, x):
        x = functional.relu(m.stem(x))
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return m.head((short + m.second(functional.relu(m.first(x)))).mean((2, 3)))

    parts = {
        "stem": nn.Conv2d(3, 8, 3, padding=1),
        "first": nn.Conv2d(8, 6, 3, 2, 1),
        "second": nn.Conv2d(6, 16, 3, 1, 1),
    }
    return Made(forward, **parts, head=nn.Linear(16, 3)), (image(),)


def depthwise():
    body = [nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)]
    return nn.Sequential(*body, nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1)), (image(),)


def grouped():
    return nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1)), (image(),)


def channel_shuffle():
    def forward(m, x):
        x = m.first(x)
        b, c, h, w = x.shape
        x = x.view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, c, h, w)
        return m.second(functional.relu(x))

    return Made(forward, first=nn.Conv2d(3, 12, 1), second=nn.Conv2d(12, 2, 1)), (image(),)


def shuffle_unit():
    def forward(m, x):
        x = m.stem(x)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, m.branch(right)], 1)
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, -1, h, w)
        left, right = x.chunk(2, dim=1)
        return m.head(torch.cat([left, m.again(right)], 1))

    parts = {"stem": nn.Conv2d(3, 16, 1), "branch": nn.Conv2d(8, 8, 1), "again": nn.Conv2d(8, 8, 1)}
    return Made(forward, **parts, head=nn.Conv2d(16, 2, 1)), (image(),)


def dense_net():
    def forward(m, x):
        x = m.stem(x)
        for layer in (m.a, m.b):
            x = torch.cat([x, functional.relu(layer(x))], 1)
        return m.head(m.norm(x).mean((2, 3)))

    parts = {"stem": nn.Conv2d(3, 6, 1), "a": nn.Conv2d(6, 4, 3, padding=1), "b": nn.Conv2d(10, 4, 3, padding=1)}
    return Made(forward, **parts, norm=nn.BatchNorm2d(14), head=nn.Linear(14, 2)), (image(),)


def u_net():
    def forward(m, x):
        top = functional.relu(m.down(x))
        low = functional.relu(m.low(functional.max_pool2d(top, 2)))
        up = m.up(low)
        wide = functional.interpolate(low, scale_factor=2.0, mode="bilinear")
        return m.head(torch.cat([top, up, wide], 1))

    parts = {
        "down": nn.Conv2d(3, 6, 3, padding=1),
        "low": nn.Conv2d(6, 8, 3, padding=1),
        "up": nn.ConvTranspose2d(8, 4, 2, 2),
    }
    return Made(forward, **parts, head=nn.Conv2d(18, 2, 1)), (image(),)


def gated_linear_unit():
    def forward(m, x):
        return m.down(functional.glu(m.up(x))) + m.second(functional.silu(m.gate(x)) * m.value(x))

    parts = {"up": nn.Linear(6, 16), "down": nn.Linear(8, 2), "gate": nn.Linear(6, 10), "value": nn.Linear(6, 10)}
    return Made(forward, **parts, second=nn.Linear(10, 2)), (tokens(6),)


def pixel_shuffle():
    body = [nn.Conv2d(3, 16, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.PixelUnshuffle(2)]
    return nn.Sequential(*body, nn.Conv2d(24, 2, 1)), (image(),)


def volume():
    return nn.Sequential(nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.AvgPool3d(2), nn.Conv3d(6, 2, 1)), (
        torch.randn(2, 2, 6, 6, 6),
    )


def transposed():
    up = nn.ConvTranspose2d(8, 12, 2, 2, groups=2)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), up, nn.ELU(), nn.ConvTranspose2d(12, 2, 3)), (image(),)


def group_norm():
    return nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12), nn.ReLU(), nn.Conv2d(12, 2, 1)), (image(),)


def instance_norm():
    norm = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    return nn.Sequential(nn.Conv2d(3, 6, 1), norm, nn.PReLU(6), nn.Conv2d(6, 2, 1)), (image(),)


def module_used_twice():
    def forward(m, x):
        y = m.stem(x)
        return m.head(m.shared(functional.relu(m.shared(y))))

    return Made(forward, stem=nn.Linear(4, 6), shared=nn.Linear(6, 6), head=nn.Linear(6, 2)), (tokens(4),)


def parameter_of_two_layers():
    def forward(m, x):
        y = m.a(x)
        return m.c(functional.relu(functional.linear(y, m.b.weight)) + functional.relu(m.b(y)))

    return Made(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 5), c=nn.Linear(5, 2)), (tokens(4),)


def bare_parameters():
    def forward(m, x):
        y = functional.relu(functional.linear(x, m.first, m.bias) * m.scale)
        return torch.einsum("btj,jk->btk", y @ m.second, m.third)

    parts = {
        "first": weight(6, 4),
        "bias": weight(6),
        "scale": weight(6),
        "second": weight(6, 5),
        "third": weight(5, 2),
    }
    return Made(forward, **parts), (tokens(4),)


def residual_with_the_input():
    def forward(m, x):
        return m.head(x + m.down(functional.gelu(m.up(x))))

    return Made(forward, up=nn.Linear(4, 7), down=nn.Linear(7, 4), head=nn.Linear(4, 2)), (tokens(4),)


def squeeze_and_excite():
    def forward(m, x):
        y = functional.hardswish(m.stem(x))
        gate = functional.relu(m.squeeze(functional.adaptive_avg_pool2d(y, 1)))
        return m.head(y * functional.hardsigmoid(m.excite(gate)))

    parts = {"stem": nn.Conv2d(3, 8, 3), "squeeze": nn.Conv2d(8, 4, 1), "excite": nn.Conv2d(4, 8, 1)}
    return Made(forward, **parts, head=nn.Conv2d(8, 2, 1)), (image(),)


def normalised_weights():
    return nn.Sequential(weight_norm(nn.Conv2d(3, 6, 3)), nn.Tanh(), weight_norm(nn.Conv2d(6, 2, 1))), (image(),)


def split_channels():
    def forward(m, x):
        y = m.stem(x)
        a, b, c = torch.split(y, [4, 6, 2], dim=1)
        return m.head(torch.cat([m.a(a), b, y[:, 2:5], c], 1))

    parts = {"stem": nn.Conv2d(3, 12, 1), "a": nn.Conv2d(4, 5, 1), "head": nn.Conv2d(16, 2, 1)}
    return Made(forward, **parts), (image(),)


def written_in_place():
    def forward(m, x):
        y = x.new_zeros(x.shape[0], 5, 10)
        y[:, :, :4] = m.a(x)
        y[:, :, 4:] = m.b(x)
        return m.head(y.relu_())

    return Made(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 6), head=nn.Linear(10, 2)), (tokens(4),)


def inception():
    def forward(m, x):
        parts = [m.one(x), m.three(functional.relu(m.reduce(x))), m.pool(functional.avg_pool2d(x, 3, 1, 1))]
        return m.head(torch.cat(parts, 1).mean((2, 3)))

    parts = {"one": nn.Conv2d(3, 4, 1), "reduce": nn.Conv2d(3, 5, 1), "three": nn.Conv2d(5, 6, 3, padding=1)}
    return Made(forward, **parts, pool=nn.Conv2d(3, 3, 1), head=nn.Linear(13, 2)), (image(),)


def low_rank():
    return nn.Sequential(nn.Linear(6, 3, bias=False), nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), (tokens(6),)


def upsampled_by_repeat():
    def forward(m, x):
        y = functional.relu(m.a(x))
        return m.b(torch.cat([y.repeat(1, 1, 2), y.repeat_interleave(3, dim=-1)], -1))

    return Made(forward, a=nn.Linear(4, 6), b=nn.Linear(30, 2)), (tokens(4),)


ALL = (
    plain_cnn,
    padded_shortcut,
    depthwise,
    grouped,
    channel_shuffle,
    shuffle_unit,
    dense_net,
    u_net,
    gated_linear_unit,
    pixel_shuffle,
    volume,
    transposed,
    group_norm,
    instance_norm,
    module_used_twice,
    parameter_of_two_layers,
    bare_parameters,
    residual_with_the_input,
    squeeze_and_excite,
    normalised_weights,
    split_channels,
    written_in_place,
    inception,
    low_rank,
    upsampled_by_repeat,
)
