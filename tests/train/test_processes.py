import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_samples import matched_run, uneven_run, whole_run

SCRIPT = """
import os
import sys
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from laconic.core.errors import TrainingError
from training_samples import StoppedError, matched_run, poisoned_run, uneven_run, whole_run

work, result, last = sys.argv[1:]


def stop(step, total, loss):
    if step == int(last):
        raise SystemExit(7)


trained = {"uneven": uneven_run(work, progress=stop), "matched": matched_run(), "whole": whole_run()}
os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}  # As accelerate launch --use_fsdp does.
AcceleratorState._reset_state()
trained |= {"sharded uneven": uneven_run(), "sharded matched": matched_run()}
try:
    whole_run(work + "/sharded", crash_after=5)
except StoppedError:
    trained["sharded whole"] = whole_run(work + "/sharded")
assert trained["sharded whole"].resumed_at == 4
assert trained["sharded whole"].scores == trained["whole"].scores
try:
    poisoned_run()  # Only the second process has the sample in its share.
except TrainingError as error:
    assert "loss term 'labels' is nan at step 2 of 4" in str(error)
else:
    raise AssertionError
save_file({f"{name} {k}": v for name, run in trained.items() for k, v in run.model.state_dict().items()}, result)
"""


def run_two(folder: Path, stop_after: int = 0) -> Path:
    """Trains in two processes that talk over gloo; returns the weights of the second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(folder / f"weights-{rank}"), str(stop_after)],
            cwd=Path(__file__).parent,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=400)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    # The result tells, not the exit status: torch now and then aborts a process that has done all its work.
    results = [folder / f"weights-{rank}" for rank in range(2)]
    assert [result.exists() for result in results] == [stop_after == 0] * 2, errors
    return results[1]


@pytest.mark.timeout(900)
def test_two_processes_replicated_or_sharded_give_the_weights_of_one_with_the_same_global_batch(tmp_path: Path) -> None:
    two = load_file(run_two(tmp_path))
    for run, trained in {"uneven": uneven_run(), "matched": matched_run(), "whole": whole_run()}.items():
        for name, one in trained.model.state_dict().items():
            for way in (run, f"sharded {run}"):
                torch.testing.assert_close(two[f"{way} {name}"], one, rtol=1e-5, atol=1e-6, msg=f"{way} {name}")


@pytest.mark.slow
def test_two_processes_that_stop_and_resume_give_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    whole = load_file(run_two(tmp_path / "whole"))
    run_two(tmp_path / "stopped", stop_after=5)
    resumed = load_file(run_two(tmp_path / "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
