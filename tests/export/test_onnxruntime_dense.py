"""Plans that change statistics and biases beside their integer weights."""

from torch import nn

from export.samples import batch_of, exported, recoded
from laconic.core.codings import Dense
from laconic.core.edit import Recode
from laconic.core.plan import Plan


def test_corrected_statistics_reach_the_file_and_are_no_weight_left_behind(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    model.eval()
    moved = [
        Recode("1.running_mean", Dense.of(model[1].running_mean + 0.5)),
        Recode("1.running_var", Dense.of(model[1].running_var * 2)),
        Recode("4.bias", Dense.of(model[4].bias + 1)),
    ]
    pair = exported(model, recoded(model) + Plan.of(moved), batch_of(2, 3, 12, 12), tmp_path)
    assert not pair.exported.left_whole
    assert pair.error(batch_of(3, 3, 12, 12)) < 1e-5
