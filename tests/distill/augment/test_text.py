import pytest
import torch

from laconic.core.errors import UsageError
from laconic.core.task import Batch
from laconic.distill.augment import DeleteTokens, MaskTokens, SampleSpan, SwapHalves, SwapNear

BEGIN, END, MASK = 101, 102, 103
ENDS = (BEGIN, END)
ALL = [
    MaskTokens(mask=MASK, probability=0.5, protected=ENDS),
    DeleteTokens(probability=0.5, protected=ENDS),
    SampleSpan(probability=0.7, protected=ENDS),
    SwapNear(probability=0.5, pairs_only=False, protected=ENDS),
    SwapHalves(span=4, probability=0.5, protected=ENDS),
]


def text(rows=3, words=8, pads=2):
    ids = torch.tensor([[BEGIN, *range(1, words + 1), END, *[0] * pads]] * rows)
    mask = torch.tensor([[1] * (words + 2) + [0] * pads] * rows)
    return Batch(kwargs={"input_ids": ids, "attention_mask": mask, "labels_of_task": torch.rand(rows)})


def words(batch):
    return [
        [token for token in row if token not in (BEGIN, END, MASK, 0)] for row in batch.kwargs["input_ids"].tolist()
    ]


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_what_is_protected_stays_and_padding_follows_at_the_end(augmentation):
    for _ in range(20):
        found = augmentation(text())
        for ids, mask in zip(found.kwargs["input_ids"].tolist(), found.kwargs["attention_mask"].tolist(), strict=True):
            kept = sum(mask)
            assert ids[0] == BEGIN and ids[kept - 1] == END and ids[kept:] == [0] * (len(ids) - kept)
            assert mask == sorted(mask, reverse=True)


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_samples_are_changed_each_by_itself_and_the_batch_that_was_given_is_not(augmentation):
    before = text(rows=16)
    ids = before.kwargs["input_ids"].clone()
    found = augmentation(before).kwargs["input_ids"]
    assert len({tuple(row) for row in found.tolist()}) > 2
    assert torch.equal(before.kwargs["input_ids"], ids)


def test_tokens_are_masked_as_often_as_asked():
    batch = Batch(args=(torch.ones(100, 200, dtype=torch.long),))
    share = (MaskTokens(mask=MASK, probability=0.15)(batch).args[0] == MASK).float().mean()
    assert share.item() == pytest.approx(0.15, abs=0.01)


def test_tokens_are_deleted_as_often_as_asked_and_the_rest_keeps_its_order():
    batch = Batch(args=(torch.arange(1, 201).repeat(50, 1),))
    found = DeleteTokens(probability=0.3)(batch).args[0]
    left = [[token for token in row if token] for row in found.tolist()]
    assert sum(map(len, left)) / 10_000 == pytest.approx(0.7, abs=0.02)
    assert all(row == sorted(row) for row in left)


def test_a_span_is_some_words_in_a_row():
    lengths = set()
    for row in words(SampleSpan(lengths=(2, 3), probability=1.0, protected=(BEGIN, END))(text(rows=64))):
        assert row == list(range(row[0], row[0] + len(row)))
        lengths.add(len(row))
    assert lengths == {2, 3}
    (short,) = words(SampleSpan(lengths=(5,), probability=1.0)(text(rows=1, words=3)))
    assert short == [1, 2, 3]


def test_short_disorder_is_a_swap_of_neighbours_or_one_of_the_orders_of_three():
    assert words(SwapNear(probability=1.0, protected=(BEGIN, END))(text(1, words=5))) == [[2, 1, 4, 3, 5]]
    seen = {
        tuple(words(SwapNear(probability=1.0, pairs_only=False, protected=(BEGIN, END))(text(1, words=3)))[0])
        for _ in range(60)
    }
    assert seen == {(2, 1, 3), (3, 2, 1), (3, 1, 2), (2, 3, 1)}


def test_long_disorder_swaps_halves_of_spans():
    (found,) = words(SwapHalves(span=4, probability=1.0, protected=(BEGIN, END))(text(1, words=9)))
    assert found == [3, 4, 1, 2, 7, 8, 5, 6, 9]


def test_labels_of_tokens_go_along_and_those_of_samples_stay():
    ids = torch.tensor([[1, 2, 3, 4]])
    found = SwapHalves(span=4, probability=1.0)(Batch(args=(ids,), labels=10 * ids))
    assert found.args[0].tolist() == [[3, 4, 1, 2]] and found.labels.tolist() == [[30, 40, 10, 20]]
    shorter = DeleteTokens(probability=1.0, protected=(1,))(Batch(args=(ids,), labels=10 * ids))
    assert shorter.labels.tolist() == [[10, -100, -100, -100]]
    kept = MaskTokens(mask=9)(Batch(args=(ids,), labels=torch.tensor([7])))
    assert kept.labels.tolist() == [7]


def test_values_outside_their_domain_are_refused():
    for make in (lambda: MaskTokens(mask=1, probability=2), lambda: DeleteTokens(probability=-0.1),
                 lambda: SwapNear(probability=1.1), lambda: SampleSpan(probability=7)):  # fmt: skip
        with pytest.raises(UsageError, match="probability in"):
            make()
    with pytest.raises(UsageError, match=r"SwapHalves\.span: got 3"):
        SwapHalves(span=3)
    with pytest.raises(UsageError, match=r"SampleSpan\.lengths"):
        SampleSpan(lengths=())
