import torch
from torch import Tensor, nn

from laconic.core.apply import apply
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.plan import Plan
from laconic.core.remembered import forget, forgetting
from laconic.graph import capture


class Biased(nn.Module):
    """Looks its biases up once and remembers them, as attention with relative positions does in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4))
        self.register_buffer("places", torch.tensor([0, 2, 1]))
        self.bias_cache: dict[str, Tensor] = {}
        self.cached_names = {"cpu": "processor"}

    def forward(self, x: Tensor) -> Tensor:
        if "cpu" not in self.bias_cache:
            self.bias_cache["cpu"] = self.table[self.places]
        return x + self.bias_cache["cpu"]


X = torch.randn(2, 3)


def test_a_changed_copy_does_not_answer_from_what_the_original_remembers() -> None:
    model = Biased().eval()
    with torch.no_grad():
        model(X)
    changed = apply(model, Plan.of([Recode("table", Dense.of(torch.zeros(4)))]))
    assert torch.equal(changed(X), X) and not torch.equal(model(X), X)


def test_a_capture_reads_the_parameter_and_leaves_the_memory_as_it_was() -> None:
    for before in (0, 1):
        model = Biased().eval()
        for _ in range(before):
            model(X)
        cache = model.bias_cache
        graph = capture(model, (X,))
        assert "table" in {graph.sources[n.name] for n in graph.nodes if n.name in graph.sources and n.users}
        assert model.bias_cache is cache and len(cache) == before
        torch.testing.assert_close(graph.module()(X), model(X))


def test_only_dicts_of_tensors_are_emptied() -> None:
    model = Biased()
    model(X)
    with forgetting(model):
        assert model.bias_cache == {} and model.cached_names == {"cpu": "processor"}
    assert list(model.bias_cache) == ["cpu"]
    forget(model)
    assert model.bias_cache == {}
