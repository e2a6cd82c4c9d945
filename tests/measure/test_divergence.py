from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laconic.core.errors import ModelError
from laconic.core.task import Batch
from laconic.measure import Answer, agreement, compare, divergence, kl_divergence, wilson

LOGITS = hnp.arrays(np.float32, (3, 4), elements=st.floats(-30, 30, width=32))


def answer(logits, labels=None):
    return Answer(batch=Batch(args=(torch.zeros(len(logits), 1),), labels=labels), logits=logits)


def noisy(*shape, seed=0, scale=0.1):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(*shape, generator=generator)
    return reference, reference + scale * torch.randn(*shape, generator=generator)


def obvious_kl(reference, candidate):
    def softmax(row):
        exponentials = [np.exp(np.longdouble(v) - max(row)) for v in row]
        return [e / sum(exponentials) for e in exponentials]

    p, q = softmax(reference.tolist()), softmax(candidate.tolist())
    return float(sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True)))


@settings(max_examples=50)
@given(reference=LOGITS, candidate=LOGITS)
def test_kl_equals_the_definition_and_is_never_negative(reference, candidate):
    reference, candidate = torch.from_numpy(reference), torch.from_numpy(candidate)
    found = kl_divergence(reference, candidate)
    expected = [obvious_kl(p, q) for p, q in zip(reference, candidate, strict=True)]
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (found >= 0).all()


@given(logits=LOGITS)
def test_kl_of_equal_logits_is_exactly_zero_and_a_shift_changes_nothing(logits):
    logits = torch.from_numpy(logits).double()
    assert kl_divergence(logits, logits).tolist() == [0.0] * 3
    shifted = kl_divergence(logits, logits + 0.1)
    assert shifted.tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert (shifted >= 0).all()


def test_kl_sees_a_change_of_the_last_bit_of_float32():
    logits = torch.tensor([1.0, 2.0, 3.0])
    assert kl_divergence(logits, torch.nextafter(logits, torch.zeros(3)) * torch.tensor([1, 1, 0.999999])) > 0


def test_kl_takes_classes_that_both_exclude_as_no_difference():
    masked = torch.tensor([0.0, 1.0, -torch.inf])
    assert kl_divergence(masked, masked) == 0


def test_compare_is_the_mean_over_predictions_whatever_the_batches():
    reference, candidate = noisy(10, 6)
    cuts = (0, 1, 7, 10)
    batches = [[answer(x[a:b]) for a, b in pairwise(cuts)] for x in (reference, candidate)]
    found = compare(*batches)
    expected = [obvious_kl(p, q) for p, q in zip(reference, candidate, strict=True)]
    assert found.kl_nats == pytest.approx(np.mean(expected), rel=1e-9)
    half = 2.262157 * np.std(expected, ddof=1) / np.sqrt(10)  # t(9 degrees, 97.5 %)
    assert found.kl_interval.high - found.kl_nats == pytest.approx(half, rel=1e-6)
    assert found.predictions == 10


def test_top1_agreement_counts_equal_largest_logits_with_wilsons_interval():
    reference = torch.eye(4)
    candidate = torch.eye(4)[[0, 1, 2, 0]]
    found = compare([answer(reference)], [answer(candidate)])
    expected = wilson(3, 4)
    assert found.top1_agreement == 0.75
    assert (found.top1_interval.low, found.top1_interval.high) == pytest.approx((expected.low, expected.high))


def test_padding_is_left_out_and_the_class_dimension_is_found_from_the_labels():
    reference, candidate = noisy(2, 5, 3)  # [samples, classes, positions]
    labels = torch.tensor([[0, 1, -100], [-100, 4, 2]])
    found = compare([answer(reference, labels)], [answer(candidate, labels)])
    kept = [(0, 0), (0, 1), (1, 1), (1, 2)]
    expected = np.mean([obvious_kl(reference[n, :, i], candidate[n, :, i]) for n, i in kept])
    assert found.kl_nats == pytest.approx(expected, rel=1e-9)
    assert found.predictions == 4


def test_taking_a_batch_in_pieces_changes_nothing(monkeypatch):
    reference, candidate = noisy(3, 7, 5)
    whole = compare([answer(reference)], [answer(candidate)])
    monkeypatch.setattr(divergence, "_CHUNK_ELEMENTS", 10)
    assert compare([answer(reference)], [answer(candidate)]) == whole


def test_one_batch_is_in_memory_at_a_time():
    alive = []

    def stream(name):
        for _ in range(3):
            alive.append(name)
            yield answer(torch.zeros(2, 3))

    compare(stream("reference"), stream("candidate"))
    assert alive == ["reference", "candidate"] * 3


def test_regression_has_the_error_relative_to_the_spread_of_the_original_and_no_kl():
    reference = torch.tensor([[1e6], [1e6 + 2], [1e6 + 4]], dtype=torch.float64)
    candidate = reference + torch.tensor([[1.0], [-1.0], [1.0]])
    found = compare(
        [answer(reference[:1]), answer(reference[1:])], [answer(candidate[:1]), answer(candidate[1:])], regression=True
    )
    assert found.relative_error == pytest.approx(1 / np.std([0, 2, 4]))
    assert (found.kl_nats, found.top1_agreement, found.predictions) == (None, None, 3)


def test_a_constant_original_has_no_relative_error():
    found = compare([answer(torch.ones(3, 1))], [answer(torch.zeros(3, 1))], regression=True)
    assert found.relative_error is None


def test_excluding_an_answer_that_the_original_allows_is_an_error():
    with pytest.raises(ModelError, match=r"KL to the original is not finite"):
        compare([answer(torch.zeros(1, 2))], [answer(torch.tensor([[0.0, -torch.inf]]))])


def test_agreement_is_element_wise_against_numpy():
    reference, candidate = noisy(9, 4, scale=0.8)
    found = agreement([answer(reference[:5]), answer(reference[5:])], [answer(candidate[:5]), answer(candidate[5:])])
    error = np.abs(candidate.numpy().astype(float) - reference.numpy().astype(float))
    assert found.max_abs_error == pytest.approx(error.max(), rel=1e-12)
    assert found.mean_abs_error == pytest.approx(error.mean(), rel=1e-12)
    expected = np.sqrt((error**2).mean()) / reference.numpy().astype(float).std()
    assert found.relative_error == pytest.approx(expected, rel=1e-9)
    assert found.top1 == (reference.argmax(1) == candidate.argmax(1)).double().mean()
    assert found.outputs == 36


def test_agreement_of_equal_outputs_is_perfect():
    reference, _ = noisy(3, 4)
    found = agreement([answer(reference)], [answer(reference)])
    assert (found.max_abs_error, found.mean_abs_error, found.relative_error, found.top1) == (0, 0, 0, 1)


def test_a_wrong_global_scale_shows_in_the_agreement():
    reference, _ = noisy(50, 4)
    assert agreement([answer(reference)], [answer(2 * reference)]).relative_error > 0.9


def test_agreement_skips_outputs_that_both_exclude_and_refuses_one_sided_ones():
    masked = torch.tensor([[0.0, 1.0, -torch.inf]])
    assert agreement([answer(masked)], [answer(masked)]).outputs == 2
    with pytest.raises(ModelError, match=r"infinite in one model and finite in the other"):
        agreement([answer(masked)], [answer(torch.zeros(1, 3))])


def test_agreement_in_regression_has_no_top1():
    assert agreement([answer(torch.ones(2, 1))], [answer(torch.ones(2, 1))], regression=True).top1 is None
