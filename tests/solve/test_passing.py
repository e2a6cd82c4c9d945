import pytest
import torch

from laconic.solve import halfway, through


def moment(inputs: int, vectors: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(vectors, inputs, generator=generator, dtype=torch.float64) + 0.5
    return (x.mT @ x / vectors)[None]


def test_a_small_moment_is_multiplied_by_exactly() -> None:
    second, matrix = moment(30, 100), torch.randn(1, 4, 30)
    assert torch.equal(through(second)(matrix), matrix @ second.float())


def test_a_diagonal_scales_inputs() -> None:
    diagonal, matrix = torch.rand(2, 5).double(), torch.randn(2, 3, 5)
    assert torch.equal(through(diagonal)(matrix), matrix * diagonal.float()[:, None, :])


def test_a_large_moment_keeps_its_diagonal_and_what_passes_most() -> None:
    second = moment(700, 3000)
    product = through(second)
    unit = torch.eye(700)[None]
    assert torch.allclose(product(unit)[0].diagonal().double(), second[0].diagonal(), rtol=1e-4)
    together = torch.ones(1, 1, 700)
    assert torch.allclose(product(together).double(), together.double() @ second, rtol=0.02)


def test_a_large_moment_of_low_rank_is_exact() -> None:
    second, matrix = moment(700, 10), torch.randn(1, 4, 700)
    expected = matrix.double() @ second
    assert torch.allclose(through(second)(matrix).double(), expected, atol=1e-4 * float(expected.abs().max()))


def test_a_large_moment_of_zeros_gives_zeros() -> None:
    assert not through(torch.zeros(1, 700, 700).double())(torch.randn(1, 2, 700)).any()


@pytest.mark.parametrize("inputs", [1, 7, 8, 100])
def test_half_a_product_gives_the_whole_error(inputs: int) -> None:
    second, change = moment(inputs, 50).expand(2, -1, -1), torch.randn(2, 3, inputs)
    wanted = ((change.double() @ second) * change.double()).sum(2)
    torch.testing.assert_close((halfway(second)(change) * change).sum(2).double(), wanted, rtol=1e-5, atol=1e-6)
