import pytest
import torch

from laconic.core.errors import DataError
from laconic.core.task import Batch
from laconic.distill.growing import continued, opening, rows_of, tokens_of, with_tokens

IDS = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 9]])


def test_tokens_are_the_decoder_s_before_the_model_s_before_the_first_input():
    assert tokens_of(Batch(args=(IDS,))) is IDS
    assert tokens_of(Batch(kwargs={"pixels": torch.rand(2, 3), "input_ids": IDS})) is IDS
    assert tokens_of(Batch(kwargs={"input_ids": IDS + 1, "decoder_input_ids": IDS})) is IDS


def test_a_mask_grows_with_the_tokens_that_it_belongs_to_and_no_other_does():
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    longer = torch.cat([IDS, IDS], dim=1)
    grown = with_tokens(Batch(kwargs={"input_ids": IDS, "attention_mask": mask}), longer)
    assert grown.kwargs["attention_mask"].tolist() == [[0, 1, 1, 1, 1, 1, 1, 1], [1] * 8]
    encoder = Batch(kwargs={"input_ids": IDS, "attention_mask": mask, "decoder_input_ids": IDS})
    assert with_tokens(encoder, longer).kwargs["attention_mask"] is mask
    assert with_tokens(grown, longer[:, :2]).kwargs["attention_mask"].tolist() == [[0, 1], [1, 1]]


def test_the_prompt_ends_where_the_first_label_of_any_sample_is():
    labels = torch.tensor([[-100, -100, 8, -100], [-100, 9, 9, -100]])
    assert opening(Batch(args=(IDS,), labels=labels)).args[0].tolist() == [[5, 6], [5, 6]]
    assert opening(Batch(args=(IDS,))).args[0] is IDS
    assert opening(Batch(args=(IDS,), labels=torch.tensor([0, 1]))).args[0] is IDS


def test_what_follows_a_prompt_is_labelled_up_to_its_end():
    prompt = Batch(args=(IDS[:, :2],))
    tokens = torch.tensor([[5, 6, 1, 2, 0], [5, 6, 0, 0, 0]])
    batch = continued(prompt, tokens, end=0)
    assert batch.labels.tolist() == [[-100, 1, 2, 0, -100], [-100, 0, -100, -100, -100]]
    assert continued(prompt, tokens, end=None).labels[1].tolist() == [-100, 0, 0, 0, -100]


def test_rows_may_repeat_and_what_all_samples_share_stays_whole():
    batch = Batch(kwargs={"input_ids": IDS, "scale": torch.tensor(3.0), "name": "x"}, labels=torch.tensor([1, 2]))
    found = rows_of(batch, torch.tensor([1, 1, 0]))
    assert found.kwargs["input_ids"].tolist() == [IDS[1].tolist(), IDS[1].tolist(), IDS[0].tolist()]
    assert found.labels.tolist() == [2, 2, 1]
    assert found.kwargs["scale"] == 3 and found.kwargs["name"] == "x"


def test_what_is_no_sequence_of_tokens_is_refused():
    for wrong in (Batch(args=(torch.rand(2, 3),)), Batch(kwargs={"x": IDS}), Batch(args=(IDS[:, :0],))):
        with pytest.raises(DataError, match="expected ids"):
            tokens_of(wrong)
    with pytest.raises(DataError, match="at least one token more"):
        continued(Batch(args=(IDS,)), IDS, end=None)
