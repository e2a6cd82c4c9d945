import pytest
import torch
from torch import nn

import laconic
from laconic.core.apply import apply
from laconic.core.errors import ArtifactError, DataError, ModelError, UsageError
from laconic.prune import IdMap, trim_vocabulary

ROWS = 60
IDS = torch.tensor([[5, 7, 41, 9], [7, 5, 30, 30], [59, 9, 9, 41]])
OCCUR = [5, 7, 9, 30, 41, 59]


class Words(nn.Module):
    """A classifier or a language model; `made` may change anything before use."""

    def __init__(self, *, head="tied", **options):
        super().__init__()
        self.embed, self.body = nn.Embedding(ROWS, 8, **options), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3 if head == "classes" else ROWS, bias=head != "tied")
        self.classes = head == "classes"
        if head in ("tied", "tied with bias"):
            self.head.weight = self.embed.weight

    def forward(self, input_ids):
        hidden = self.body(self.embed(input_ids).cumsum(1)).tanh()
        return self.head(hidden.mean(1) if self.classes else hidden)


def made(kind=Words, **options):
    torch.manual_seed(0)
    return kind(**options).eval()


def same(model, trimmed, ids=IDS):
    """The new model on new ids against the untouched original on old ones, at the outputs that are left."""
    with torch.no_grad():
        whole, got = model(ids), trimmed.model(trimmed.ids(ids))
    expected = whole[..., trimmed.ids.kept] if trimmed.predicted else whole
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["tied", "tied with bias", "its own", "classes"])
def test_rows_that_do_not_occur_go_and_nothing_else_changes(head):
    model = made(head=head)
    trimmed = trim_vocabulary(model, IDS)
    assert trimmed.ids.kept.tolist() == OCCUR and trimmed.model.embed.num_embeddings == len(OCCUR)
    assert trimmed.model.head.out_features == (3 if head == "classes" else len(OCCUR))
    assert trimmed.predicted == (head != "classes") and trimmed.pruned.kind == "module"
    assert head not in ("tied", "tied with bias") or trimmed.model.head.weight is trimmed.model.embed.weight
    assert model.embed.num_embeddings == ROWS
    same(model, trimmed)


def test_the_plan_alone_and_the_saved_folder_give_the_same_model_and_ids(tmp_path):
    model = made(head="tied with bias")
    trimmed = trim_vocabulary(model, IDS, unknown=9)
    for _ in range(2):
        trimmed.save(tmp_path)
    loaded, plan, *_ = laconic.load_pruned(tmp_path / "pruned", made(head="tied with bias"))
    ids = IdMap.load(tmp_path)
    new = ids(torch.tensor([[0, 41]]))
    assert plan == trimmed.plan and new.tolist() == [[2, 4]] and ids.kept.tolist() == OCCUR
    for other in (loaded, apply(model, trimmed.plan)):
        assert torch.equal(other(new), trimmed.model(new))
    (tmp_path / IdMap.FILE).unlink()
    with pytest.raises(ArtifactError, match="vocabulary"):
        IdMap.load(tmp_path)


def test_ids_that_went_become_the_unknown_one_or_are_an_error():
    model = made()
    known, strict = trim_vocabulary(model, IDS, unknown=3), trim_vocabulary(model, IDS)
    assert known.ids.kept.tolist() == [3, *OCCUR]
    assert known.ids(torch.tensor([0, 3, 5, 58], dtype=torch.int32)).tolist() == [0, 0, 1, 0]
    assert known.ids(torch.tensor([3], dtype=torch.int32)).dtype == torch.int32
    with pytest.raises(DataError, match="got the id 58, which was cut"):
        strict.ids(torch.tensor([5, 58]))
    for wrong in (-1, ROWS):
        with pytest.raises(DataError, match=f"got the id {wrong}; expected 0 to 59"):
            known.ids(torch.tensor([5, wrong]))


def test_a_task_gives_all_its_ids_and_comes_back_with_new_ones():
    model = made(head="its own")
    labels = torch.where(IDS == 9, -100, torch.tensor(17))
    task = laconic.Task(
        train=[{"input_ids": IDS[:1], "labels": IDS[:1]}], evaluate=[{"input_ids": IDS[1:], "labels": labels[1:]}]
    )
    trimmed = laconic.trim_vocabulary(model, task, keep=(0,))
    assert trimmed.ids.kept.tolist() == sorted([0, 17, *OCCUR])
    (batch,) = trimmed.task(task).batches("evaluate")
    assert torch.equal(batch.kwargs["input_ids"], trimmed.ids(IDS[1:]))
    assert torch.equal(batch.labels, torch.where(IDS[1:] == 9, -100, trimmed.ids.new[17]))
    assert trimmed.task(task).forward(trimmed.model, batch).shape == (2, 4, len(OCCUR) + 2)
    same(model, trimmed)


def test_classes_are_no_ids_even_where_there_are_as_many():
    class Same(Words):
        def forward(self, input_ids):
            return super().forward(input_ids).mean(1)

    model = made(Same, head="its own")
    task = laconic.Task(evaluate=[(IDS, torch.tensor([1, 2, 3]))])
    left, shrunk = trim_vocabulary(model, task), trim_vocabulary(model, task, outputs=True)
    assert left.model.head.out_features == ROWS and not left.predicted
    assert shrunk.model.head.out_features == len(OCCUR) + 3 and shrunk.predicted
    (batch,) = left.task(task).batches("evaluate")
    assert batch.labels.tolist() == [1, 2, 3]
    same(model, left)
    same(model, shrunk)


@pytest.mark.parametrize("options", [{"sparse": True}, {"scale_grad_by_freq": True}, {"max_norm": 1.0}])
def test_settings_of_the_embedding_survive(options):
    model = made(**options)
    trimmed = trim_vocabulary(model, IDS)
    assert all(getattr(trimmed.model.embed, name) == value for name, value in options.items())
    same(model, trimmed)
    trimmed.model.train()(trimmed.ids(IDS)).sum().backward()


@pytest.mark.parametrize("written_out", [False, True])
def test_the_row_of_the_padding_stays_and_gets_no_gradient_under_its_new_number(written_out):
    class WrittenOut(Words):
        """Its own code does not run at another size."""

        def forward(self, input_ids):
            return super().forward(input_ids).view(-1, IDS.shape[1], ROWS)

    model = made(WrittenOut if written_out else Words, head="its own", padding_idx=40)
    trimmed = trim_vocabulary(model, IDS)
    new = sorted([40, *OCCUR]).index(40)
    assert trimmed.ids.kept.tolist() == sorted([40, *OCCUR])
    assert trimmed.pruned.kind == ("graph" if written_out else "module")
    same(model, trimmed)
    same(model, trimmed, torch.full_like(IDS, 40))
    trimmed.model(torch.arange(len(trimmed.ids.kept))[None, :4] + 1).square().sum().backward()
    rows = dict(trimmed.model.named_parameters())["embed.weight"].grad.abs().sum(1)
    assert rows[new] == 0 and rows[new - 1] > 0


def test_every_table_with_the_same_ids_is_cut_and_others_are_left():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep, self.wide = nn.Embedding(ROWS, 8), nn.Parameter(torch.randn(ROWS, 3))
            self.register_buffer("rare", torch.rand(ROWS))
            self.place, self.out = nn.Embedding(4, 8), nn.Linear(8, 3)

        def forward(self, first, second):
            deep = self.deep(first) + self.deep(second) * self.rare[first][..., None]
            return self.out(deep + self.place(torch.arange(4))) + self.wide[second]

    model, other = made(Wide), IDS.flip(1)
    trimmed = trim_vocabulary(model, (IDS, other))
    assert trimmed.sources == (0, 1) and [len(p) for p in trimmed.model.parameters()][:2] == [6, 6]
    assert len(trimmed.model.rare) == 6 and trimmed.model.place.num_embeddings == 4
    args, _ = trimmed.inputs((IDS, other), {})
    torch.testing.assert_close(trimmed.model(*args), model(IDS, other))


def test_an_id_that_the_model_compares_with_keeps_its_number_and_that_is_said():
    class Masked(Words):
        def forward(self, input_ids):
            return super().forward(input_ids) * (input_ids != 2)[..., None]

    model = made(Masked)
    trimmed = trim_vocabulary(model, IDS)
    assert trimmed.ids.kept.tolist() == [0, 1, 2, *OCCUR] and "3 more stay: Masked compares ids with 2" in str(trimmed)
    same(model, trimmed, torch.tensor([[2, 5, 2, 7]]))


def test_ids_of_a_corpus_count_instead_of_the_examples():
    model = made()
    trimmed = trim_vocabulary(model, torch.full((1, 4), 50), ids=[IDS, torch.tensor([3])])
    assert trimmed.ids.kept.tolist() == [3, *OCCUR]
    same(model, trimmed)


def test_number_of_ids_is_filled_up_to_a_multiple():
    trimmed = trim_vocabulary(made(), IDS, round_to=8)
    assert trimmed.ids.kept.tolist() == [0, 1, *OCCUR]
    assert len(trim_vocabulary(made(), IDS, round_to=64).ids.kept) == ROWS


def test_probabilities_are_those_of_the_kept_ids_alone_and_that_is_said():
    class Likely(Words):
        def forward(self, input_ids):
            return super().forward(input_ids).log_softmax(-1)

    model = made(Likely)
    trimmed = trim_vocabulary(model, IDS)
    got = trimmed.model(trimmed.ids(IDS))
    torch.testing.assert_close(got, model(IDS)[..., trimmed.ids.kept].log_softmax(-1))
    assert "over the kept ids alone" in str(trimmed)


def test_all_rows_in_use_is_said_and_nothing_is_cut():
    trimmed = trim_vocabulary(made(), torch.arange(ROWS).view(-1, 4))
    assert len(trimmed.plan) == 0 and "nothing was cut" in str(trimmed) and trimmed.pruned.parameters_ratio == 1


class Computed(Words):
    def forward(self, x):
        return super().forward((x * 10).long().clamp(0, ROWS - 1))


class Both(Words):
    def forward(self, input_ids):
        return super().forward(input_ids) + self.embed((input_ids + 1) % ROWS).sum()


class Best(Words):
    def forward(self, input_ids):
        return super().forward(input_ids).argmax(-1)


class Uneven(Words):
    def __init__(self, **options):
        super().__init__(**options)
        self.more = nn.Embedding(ROWS + 1, 8)

    def forward(self, input_ids):
        return super().forward(input_ids).sum(-1) + self.more(input_ids).sum(-1)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (Computed, torch.rand(2, 4), "the indices of embed.weight are computed inside it"),
        (Both, IDS, r"embed.weight is indexed by what Both computes, too \(embedding_1\)"),
        (Best, IDS, "the rows of embed.weight cannot be cut, because of aten.argmax.default"),
        (Uneven, IDS, "more.weight with 61 rows and embed.weight with 60"),
    ],
)
def test_models_whose_rows_are_needed_are_refused_with_the_reason(kind, data, words):
    with pytest.raises(ModelError, match=words):
        trim_vocabulary(made(kind), data)


def test_a_model_that_looks_nothing_up_is_refused():
    with pytest.raises(ModelError, match="no input of Linear indexes a table: it looks nothing up"):
        trim_vocabulary(nn.Linear(3, 2), torch.randn(2, 3))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ids": [IDS, IDS + 10]}, DataError, "got the id 69; expected 0 to 59, the rows of embed.weight"),
        ({"ids": [-IDS]}, DataError, "got the id -59"),
        ({"ids": [IDS.float()]}, DataError, "got ids of torch.float32"),
        ({"keep": [ROWS]}, UsageError, r"trim_vocabulary.keep: got 60; expected an id from 0 to 59"),
        ({"unknown": -1}, UsageError, "trim_vocabulary.unknown: got -1"),
        ({"round_to": 0}, UsageError, "trim_vocabulary.round_to: got 0"),
        (
            {"table": "head.wei"},
            UsageError,
            "got 'head.wei'; expected a table that an input indexes. There is embed.we",
        ),
    ],
)
def test_bad_input_is_named(options, error, words):
    with pytest.raises(error, match=words):
        trim_vocabulary(made(head="its own"), IDS, **options)


def test_a_table_is_named_by_any_of_its_names():
    assert trim_vocabulary(made(), IDS, table="head.weight").ids.kept.tolist() == OCCUR
