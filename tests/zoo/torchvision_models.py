"""Networks of torchvision, as small as their constructors allow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from .entry import Built, Entry
from .libraries import torchvision

CLASSES = 10


def _image(side: int) -> tuple[torch.Tensor]:
    return (torch.randn(2, 3, side, side),)


def _by_name(name: str, side: int, **options: Any) -> Built:
    """A published network at full width, for families whose constructors know no smaller one."""
    return torchvision().models.get_model(name, weights=None, num_classes=CLASSES, **options), _image(side)


def _made(make: Callable[[Any], nn.Module], side: int) -> Built:
    return make(torchvision().models), _image(side)


def _resnet(models: Any, **options: Any) -> nn.Module:
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES, **options)


def _bottlenecks(models: Any, **options: Any) -> nn.Module:
    return models.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, **options)


def _vgg(models: Any) -> nn.Module:
    body = models.VGG(models.vgg.make_layers([16, "M", 32, "M", 32, "M"], batch_norm=True), CLASSES, init_weights=False)
    body.avgpool = nn.AdaptiveAvgPool2d(2)
    body.classifier = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, CLASSES))
    return body


def _dense(models: Any) -> nn.Module:
    return models.DenseNet(8, (2, 2, 2), 16, num_classes=CLASSES)


def _regnet(models: Any, se_ratio: float | None) -> nn.Module:
    module = models.regnet
    blocks = module.BlockParams.from_init_params(depth=6, w_0=16, w_a=16.0, w_m=2.0, group_width=8, se_ratio=se_ratio)
    return module.RegNet(blocks, num_classes=CLASSES, stem_width=16)


def _mobile3(models: Any) -> nn.Module:
    make = partial(models.mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    settings = [
        make(16, 3, 16, 16, True, "RE", 2, 1),
        make(16, 5, 48, 24, False, "HS", 2, 1),
        make(24, 5, 48, 24, True, "HS", 1, 1),
    ]
    return models.MobileNetV3(settings, 64, num_classes=CLASSES)


def _efficient(models: Any) -> nn.Module:
    make = partial(models.efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [make(1, 3, 1, 16, 16, 1), make(6, 3, 2, 16, 24, 2), make(6, 5, 2, 24, 32, 2)]
    return models.EfficientNet(settings, dropout=0.2, num_classes=CLASSES)


def _efficient2(models: Any) -> nn.Module:
    module = models.efficientnet
    settings = [module.FusedMBConvConfig(4, 3, 2, 16, 24, 2), module.MBConvConfig(4, 3, 2, 24, 32, 2)]
    return models.EfficientNet(settings, dropout=0.2, num_classes=CLASSES, last_channel=64)


def _convnext(models: Any) -> nn.Module:
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(16, 32, 1), block(32, 64, 2), block(64, None, 1)], num_classes=CLASSES)


def _vit(models: Any) -> nn.Module:
    return models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=CLASSES)


def _swin(models: Any, block: str, merging: str) -> nn.Module:
    module = models.swin_transformer
    return models.SwinTransformer(
        [4, 4],
        24,
        [2, 2],
        [2, 4],
        [4, 4],
        num_classes=CLASSES,
        block=getattr(module, block),
        downsample_layer=getattr(module, merging),
    )


def _maxvit(models: Any) -> nn.Module:
    return models.MaxVit((64, 64), 16, 2, [16, 32], [1, 1], 8, 0.1, num_classes=CLASSES)


def _fcn(models: Any) -> nn.Module:
    body = models._utils.IntermediateLayerGetter(_resnet(models), {"layer3": "aux", "layer4": "out"})
    head = models.segmentation.fcn.FCNHead
    return models.segmentation.FCN(body, head(512, CLASSES), head(256, CLASSES))


def _deeplab(models: Any) -> nn.Module:
    body = models._utils.IntermediateLayerGetter(_resnet(models), {"layer4": "out"})
    return models.segmentation.DeepLabV3(body, models.segmentation.deeplabv3.DeepLabHead(512, CLASSES))


def _lraspp(models: Any) -> nn.Module:
    body = models._utils.IntermediateLayerGetter(_mobile3(models).features, {"2": "low", "4": "high"})
    return models.segmentation.LRASPP(body, 24, 144, CLASSES)


def _pyramid(models: Any) -> nn.Module:
    return models.detection.backbone_utils.BackboneWithFPN(
        _resnet(models), {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}, [64, 128, 256, 512], 32
    )


def _pyramid_with_heads(models: Any) -> nn.Module:
    """The dense part of RetinaNet: backbone, feature pyramid, and the two heads that run over all levels."""
    heads = models.detection.retinanet.RetinaNetHead(32, 3, CLASSES)
    return _Detector(_pyramid(models), heads)


class _Detector(nn.Module):
    def __init__(self, body: nn.Module, heads: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.heads = heads

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.heads(list(self.body(images).values()))


NAMED: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("squeezenet1_1", 64, {}),
    ("googlenet", 64, {"aux_logits": False, "init_weights": False}),
    ("inception_v3", 96, {"aux_logits": False, "init_weights": False}),
    ("mnasnet0_5", 64, {}),
    ("mobilenet_v2", 64, {"width_mult": 0.25}),
    ("shufflenet_v2_x0_5", 64, {}),
)
MADE: tuple[tuple[str, int, Callable[[Any], nn.Module]], ...] = (
    ("resnet", 32, _resnet),
    ("resnet_bottleneck", 32, _bottlenecks),
    ("resnext", 32, partial(_bottlenecks, groups=8, width_per_group=8)),
    ("wide_resnet", 32, partial(_bottlenecks, width_per_group=128)),
    ("vgg_bn", 32, _vgg),
    ("densenet", 32, _dense),
    ("regnet_x", 32, partial(_regnet, se_ratio=None)),
    ("regnet_y", 32, partial(_regnet, se_ratio=0.25)),
    ("mobilenet_v3", 32, _mobile3),
    ("efficientnet", 32, _efficient),
    ("efficientnet_v2", 32, _efficient2),
    ("convnext", 32, _convnext),
    ("vit", 32, _vit),
    ("swin", 32, partial(_swin, block="SwinTransformerBlock", merging="PatchMerging")),
    ("swin_v2", 32, partial(_swin, block="SwinTransformerBlockV2", merging="PatchMergingV2")),
    ("maxvit", 64, _maxvit),
    ("fcn", 32, _fcn),
    ("deeplab_v3", 32, _deeplab),
    ("lraspp", 32, _lraspp),
    ("detection_fpn", 64, _pyramid),
    ("detection_retinanet", 64, _pyramid_with_heads),
)
ENTRIES = (
    *(Entry(f"torchvision/{name}", partial(_by_name, name, side, **options)) for name, side, options in NAMED),
    *(Entry(f"torchvision/{name}", partial(_made, make, side)) for name, side, make in MADE),
)
