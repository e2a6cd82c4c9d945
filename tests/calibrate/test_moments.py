import pytest
import torch

from laconic.calibrate import moments
from laconic.calibrate.moments import bags, lookups, second_moment


def reference(vectors: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(len(vectors), vectors.shape[2], vectors.shape[2], dtype=torch.float64)
    for group in range(len(vectors)):
        for x in vectors[group].double():
            total[group] += torch.outer(x, x)
    return total


def test_the_second_moment_is_the_sum_of_outer_products() -> None:
    chunks = [torch.randn(3, 5, 4), torch.randn(3, 2, 4)]
    total, count = second_moment(chunks)
    assert count == 7
    torch.testing.assert_close(total, reference(torch.cat(chunks, 1)))


@pytest.mark.parametrize("size", [7, 8, 19])
def test_a_product_in_parts_is_the_whole_one_and_symmetric(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(moments, "WIDE", 2)
    vectors = torch.randn(2, 9, size)
    total, _ = second_moment([vectors])
    torch.testing.assert_close(total, reference(vectors))
    assert torch.equal(total, total.mT)


def test_small_eigenvalues_survive() -> None:
    scales = torch.tensor([1e3, 1e-3], dtype=torch.float64)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    vectors = (torch.randn(1, 5000, 2, dtype=torch.float64) * scales) @ turn.T
    smallest = torch.linalg.eigvalsh(second_moment([vectors])[0])[0, 0]
    torch.testing.assert_close(smallest, torch.tensor(5000 * 1e-6, dtype=torch.float64), rtol=0.1, atol=0)


def test_large_moments_are_summed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(2, 37, 5)
    expected, _ = second_moment([vectors])
    monkeypatch.setattr(moments, "CHUNK", 30)
    torch.testing.assert_close(second_moment([vectors])[0], expected)


def test_products_of_large_vectors_run_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "EXACT", 3)
    vectors = torch.randn(2, 100, 4)
    total, _ = second_moment([vectors])
    assert total.dtype == torch.float64
    torch.testing.assert_close(total, reference(vectors), rtol=1e-5, atol=1e-4)


def test_beyond_a_size_only_the_diagonal_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "FULL", 3)
    vectors = torch.randn(2, 6, 4)
    torch.testing.assert_close(second_moment([vectors])[0], reference(vectors).diagonal(dim1=1, dim2=2))


def test_lookups_are_counted_by_row() -> None:
    moment, count = lookups(torch.tensor([[0, 2], [2, 2]]), 4)
    assert moment.tolist() == [[1, 0, 3, 0]]
    assert count == 4


def test_bags_square_how_often_a_row_is_in_one() -> None:
    rows, offsets = torch.tensor([1, 1, 0, 1, 2]), torch.tensor([0, 3])
    share = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    assert bags(rows, offsets, share, 3, mean=False)[0].tolist() == [[1, 4 + 1, 0]]
    torch.testing.assert_close(
        bags(rows, offsets, share, 3, mean=True)[0], torch.tensor([[1 / 9, 4 / 9 + 1, 0]], dtype=torch.float64)
    )
