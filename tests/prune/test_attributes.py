import torch
from torch import nn
from torch.nn import functional

from laconic.graph import capture
from laconic.graph.axes import axes
from laconic.prune.attributes import known_attributes, matching_attributes


def halved(model, *inputs):
    found = axes(capture(model, inputs))
    return found, {axis.atom: axis.size // 2 for axis in found}


def test_sizes_of_torch_modules_follow_their_tensors():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 6, 2), nn.Flatten()
    ).append(nn.Linear(150, 2))
    found = known_attributes(model, *halved(model, torch.randn(2, 3, 8, 8)))
    assert found["0", "out_channels"] == 4 and found["0", "in_channels"] == 3
    assert found["1", "num_features"] == 4
    assert [found["2", name] for name in ("in_channels", "out_channels", "groups")] == [4, 4, 4]
    assert found["3", "in_channels"] == 4 and found["3", "out_channels"] == 3
    assert found["5", "in_features"] == 75 and found["5", "out_features"] == 2


def test_normalized_shape_stays_a_tuple():
    model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    assert known_attributes(model, *halved(model, torch.randn(2, 3)))["1", "normalized_shape"] == (4,)


def test_recurrent_layers_know_hidden_and_projected_size():
    class Recurrent(nn.Module):
        def __init__(self, **projection):
            super().__init__()
            self.lstm = nn.LSTM(5, 8, batch_first=True, **projection)
            self.head = nn.Linear(projection.get("proj_size", 8), 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    def kept(model):
        found = known_attributes(model, *halved(model, torch.randn(2, 4, 5)))
        return [found.get(("lstm", name)) for name in ("input_size", "hidden_size", "proj_size")]

    assert kept(Recurrent()) == [5, 4, None]
    assert kept(Recurrent(proj_size=6)) == [5, 8, 3]


class Attention(nn.Module):
    def __init__(self, width, num_heads, head_dim):
        super().__init__()
        self.num_heads, self.head_dim, self.inner = num_heads, head_dim, num_heads * head_dim
        self.qkv, self.out = nn.Linear(width, 3 * self.inner), nn.Linear(self.inner, width)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, t, self.inner))


def test_heads_and_their_width_are_told_apart_by_value():
    model = Attention(10, 6, 4)
    found, _ = halved(model, torch.randn(2, 5, 10))
    (heads,) = [axis for axis in found if axis.kind == "heads"]
    sizes = matching_attributes(model, found, {heads.atom: 2})
    assert [sizes["", name] for name in ("num_heads", "head_dim", "inner")] == [2, 4, 8]


def test_heads_and_their_width_of_equal_size_are_told_apart_by_name():
    model = Attention(10, 4, 4)
    found, _ = halved(model, torch.randn(2, 5, 10))
    (heads,) = [axis for axis in found if axis.kind == "heads"]
    sizes = matching_attributes(model, found, {heads.atom: 3})
    assert [sizes["", name] for name in ("num_heads", "head_dim", "inner")] == [3, 4, 12]


def test_numbers_that_are_no_size_of_the_module_stay():
    model = Attention(10, 6, 4)
    model.version = 7
    assert matching_attributes(model, *halved(model, torch.randn(2, 5, 10)))["", "version"] == 7
