"""The public networks that benchmarks compress, and the images they were trained on."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

import laconic
import manner

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOP1 = {"resnet20": 91.73, "resnet32": 92.62, "resnet56": 93.39}  # What `top1` says of each network as it is.
HELD_BACK = 2000  # The last training images are never drawn: choices can be made on them instead of on test images.


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; where the shape changes, every second pixel between zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.widening = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.widening:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.widening, self.widening))
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    """He et al. 2015, arXiv:1512.03385, section 4.2: 16, 32 and 64 channels, `(depth - 2) / 6` blocks each."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        count = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, count, 1)
        self.layer2 = _stage(16, 32, count, 2)
        self.layer3 = _stage(32, 64, count, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _stage(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    first = Residual(inputs, outputs, stride)
    return nn.Sequential(first, *(Residual(outputs, outputs, 1) for _ in range(count - 1)))


def cifar_resnet(depth: int) -> CifarResNet:
    """Returns the public ResNet-20, -32 or -56 with its weights, in eval mode."""
    manner.shared_data()
    model = CifarResNet(depth)
    path = manner.DATA / "weights" / f"cifar10_resnet{depth}.pt"
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval().to(memory_format=torch.channels_last)


@cache
def cifar_images(split: str) -> tuple[Tensor, Tensor]:
    """Returns all images of `"train"` or `"test"`, uint8 `[n, 3, 32, 32]`, and their labels."""
    images, labels = manner.shared_data().cifar10(split)
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels).long()


def cifar_inputs(images: Tensor) -> Tensor:
    """Returns what the CIFAR networks read, float32, from uint8 images."""
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return ((images.float() / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)


@cache
def cifar_task(samples: int, *, seed: int | None = None, batch: int = 128) -> laconic.Task:
    """Returns training images without labels: the first ones, or with a seed as many at random."""
    images, _ = cifar_images("train")
    if seed is not None:
        order = torch.randperm(len(images) - HELD_BACK, generator=torch.Generator().manual_seed(seed))
        images = images[order[:samples]]
    return laconic.Task(evaluate=list(cifar_inputs(images[:samples]).split(batch)))


def top1(model: nn.Module, *, held_back: bool = False) -> float:
    """Returns the percentage of test images, or of the training images held back, that are classified correctly."""
    images, labels = cifar_images("train" if held_back else "test")
    images, labels = (images[-HELD_BACK:], labels[-HELD_BACK:]) if held_back else (images, labels)
    with torch.no_grad():
        answers = torch.cat([model(cifar_inputs(part)).argmax(1) for part in images.split(500)])
    return round(100 * float((answers == labels).double().mean()), 2)
