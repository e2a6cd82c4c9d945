"""Moments of windows against the windows themselves, laid out one by one."""

import pytest
import torch

from laconic.calibrate import moments, windows
from laconic.calibrate.moments import second_moment
from laconic.calibrate.patches import patches
from laconic.calibrate.windows import window_moment

# channels, space, kernel, stride, dilation, groups
GEOMETRIES = {
    "1d": (3, (9,), (4,), (1,), (1,), 1),
    "1d, dilated, grouped": (4, (11,), (3,), (1,), (2,), 2),
    "2d": (2, (6, 5), (3, 3), (1, 1), (1, 1), 1),
    "as large as the input": (2, (3, 4), (3, 4), (1, 1), (1, 1), 1),
    "one line more": (2, (4, 4), (3, 4), (1, 1), (1, 1), 1),
    "dilated lines": (2, (10, 6), (3, 2), (1, 1), (3, 2), 1),
    "strides along a line": (2, (6, 9), (2, 3), (1, 2), (1, 1), 1),
    "strides over lines": (2, (7, 5), (3, 2), (2, 1), (1, 1), 1),
    "one line": (2, (6, 5), (1, 3), (1, 1), (1, 1), 1),
    "depthwise": (5, (6, 6), (3, 3), (1, 1), (1, 1), 5),
    "3d": (2, (4, 5, 3), (2, 3, 2), (1, 2, 1), (1, 1, 2), 2),
}


@pytest.mark.parametrize("chunk", [moments.CHUNK, 40])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_moment_is_that_of_all_windows(
    geometry: tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channels, space, *settings = geometry
    x = torch.randn(3, channels, *space).to(memory_format=torch.contiguous_format)
    expected, count = second_moment([torch.cat(list(patches(x, *settings)), 1)])
    monkeypatch.setattr(moments, "CHUNK", chunk)
    found, positions = window_moment(x, *settings)
    assert found.dtype == torch.float64 and positions == count
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_large_windows_are_multiplied_in_float32_and_larger_ones_keep_their_diagonal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, settings = torch.randn(4, 2, 6, 6), ((3, 3), (1, 1), (1, 1), 1)
    expected, _ = second_moment(patches(x, *settings))
    for name in ("EXACT", "FULL"):
        for module in (moments, windows):
            monkeypatch.setattr(module, name, 17)
        found, _ = window_moment(x, *settings)
        assert found.dtype == torch.float64
        diagonal = expected.diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(found, expected if name == "EXACT" else diagonal, rtol=1e-5, atol=1e-4)


def test_no_samples_have_no_moment() -> None:
    found, count = window_moment(torch.zeros(0, 2, 5, 5), (3, 3), (1, 1), (1, 1), 1)
    assert count == 0 and not found.any() and found.shape == (1, 18, 18)
