import copy
from unittest.mock import patch

import pytest
import torch

import laconic
from laconic.core.state import load_state, save_state
from laconic.export.onnxruntime import Session, export
from laconic.prune import load_pruned

from .networks import Padded, Plain, images

KINDS = {"module": Plain, "graph": Padded}
TASK = laconic.Task(evaluate=[images()])


def original(kind: str):
    torch.manual_seed(0)
    return KINDS[kind]().eval()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def small(kind: str) -> laconic.Pruned:
    found = laconic.prune(original(kind), TASK, ratio=0.4)
    assert found.kind == kind
    return found


def test_eight_bit_weights_and_activations_run_on_integer_kernels_and_the_whole_plan_is_saved(
    small: laconic.Pruned, kind: str, tmp_path
) -> None:
    more = laconic.quantize(small.model, TASK, bits=8, activation_bits=8)
    assert {"recode", "round"} == {edit.kind for edit in more}
    quantised, whole = laconic.apply(small.model, more).eval(), small.plan + more
    assert torch.equal(laconic.apply(original(kind), whole)(images()), quantised(images()))
    found = load_pruned(small.save(tmp_path / "small", model=quantised, plan=whole), KINDS[kind]())
    assert torch.equal(found.model(images()), quantised(images()))
    exported = export(found.model, found.plan, TASK, next(TASK.batches("evaluate")), tmp_path / "model.onnx")
    assert len(exported.integer) == len([name for name, p in small.model.named_parameters() if p.dim() > 1])
    output = torch.from_numpy(Session(exported.path).run([images().numpy()]))
    # A code that falls the other way moves an output by about a step of the last grid.
    torch.testing.assert_close(output, quantised(images()).detach(), rtol=0, atol=0.02)
    assert (quantised(images()) - small.model(images())).abs().max() < 0.1


def test_float_export_agrees(small: laconic.Pruned, tmp_path) -> None:
    exported = export(small.model, small.plan, TASK, next(TASK.batches("evaluate")), tmp_path / "model.onnx")
    assert exported.dynamic_batch
    for x in (images(), images()[:3]):
        output = torch.from_numpy(Session(exported.path).run([x.numpy()]))
        torch.testing.assert_close(output, small.model(x).detach(), rtol=1e-4, atol=1e-5)


def test_composed_plan_goes_through_the_state_of_core(small: laconic.Pruned, kind: str, tmp_path) -> None:
    whole = small.plan + laconic.quantize(small.model, TASK, bits=4)
    network = laconic.apply(original(kind), whole)
    save_state(tmp_path, network, whole)
    again, plan = load_state(tmp_path, KINDS[kind]())
    assert plan == whole and torch.equal(again(images()), network(images()))


def test_optimizer_moves_to_the_pruned_parameters_and_goes_on(kind: str) -> None:
    model = original(kind).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(images()).square().mean().backward()
    optimizer.step()
    small = laconic.prune(model, images()[:4], ratio=0.4)
    laconic.migrate(optimizer, small.plan, model, small.model)
    assert small.model.training
    assert optimizer.param_groups[0]["params"] == list(small.model.parameters())
    for parameter in small.model.parameters():
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
    before = copy.deepcopy(small.model.state_dict())
    optimizer.zero_grad()
    small.model(images()).square().mean().backward()
    optimizer.step()
    after = small.model.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name, p in small.model.named_parameters() if p.dim() > 1)
    assert int(after["norm.num_batches_tracked"]) == 1 + int(before["norm.num_batches_tracked"])


def test_training_draws_dropout_as_the_model_does(small: laconic.Pruned) -> None:
    small.model.train()
    assert not torch.equal(small.model(images()), small.model(images()))
    assert torch.equal(small.model.eval()(images()), small.model(images()))
    assert not any("in training" in note for note in small.notes)


def test_it_is_copied_cast_and_filled_from_a_state_dict(small: laconic.Pruned, kind: str) -> None:
    twin = copy.deepcopy(small.model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(small.model.state_dict())
    assert torch.equal(twin(images()), small.model(images()))
    torch.testing.assert_close(twin.double()(images().double()).float(), small.model(images()), rtol=1e-4, atol=1e-5)
    assert torch.equal(laconic.apply(original(kind), small.plan).state_dict()["head.bias"], small.model.head.bias)


def test_it_is_pruned_again_and_both_plans_together_lead_there(small: laconic.Pruned, kind: str, tmp_path) -> None:
    again = laconic.prune(small.model, TASK, ratio=0.2)
    assert again.after.macs < small.after.macs
    whole = small.plan + again.plan
    assert torch.equal(laconic.apply(original(kind), whole)(images()), again.model(images()))
    found = load_pruned(small.save(tmp_path / "small", model=again.model, plan=whole), KINDS[kind]())
    assert torch.equal(found.model(images()), again.model(images()))


def test_compressing_a_pruned_model_gives_an_artifact_that_loads_into_it(
    small: laconic.Pruned, kind: str, tmp_path
) -> None:
    x = images()
    task = laconic.Task(evaluate=[(x, small.model(x).argmax(1))], metric="accuracy")
    with patch("laconic.pipeline.figures.SECONDS", 0.1):
        result = laconic.compress(small.model, task, recovery=None, samples=32)
    artifact = result.save(tmp_path / "result") / "artifact"
    assert laconic.verify(artifact).samples == 4
    pruned = load_pruned(small.save(tmp_path / "small"), KINDS[kind]()).model
    assert torch.equal(laconic.load_into(pruned, artifact)(x), result.model(x))
    with pytest.raises(laconic.ArtifactError, match=r"If that one was pruned before, pass the pruned model"):
        laconic.load_into(KINDS[kind](), artifact)
