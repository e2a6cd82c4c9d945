"""Families of timm, as small as their options allow."""

import importlib
from functools import partial
from typing import Any

import torch

from .entry import Built, Entry
from .libraries import timm

CLASSES = 10


def _made(name: str, side: int, options: dict[str, Any]) -> Built:
    return timm().create_model(name, pretrained=False, num_classes=CLASSES, **options), (torch.randn(2, 3, side, side),)


def _of_class(path: str, side: int, options: dict[str, Any]) -> Built:
    """A family whose published models fix what makes them large."""
    timm()
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(f"timm.models.{module}"), name)
    return cls(num_classes=CLASSES, **options), (torch.randn(2, 3, side, side),)


VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("test_resnet", 32, {}),
    ("test_byobnet", 32, {}),
    ("test_convnext", 32, {}),
    ("test_efficientnet", 32, {}),
    ("test_nfnet", 32, {}),
    ("test_maxvit", 64, {"img_size": 64}),
    ("test_coatnet", 64, {"img_size": 64}),
    ("test_mambaout", 32, {}),
    ("test_vit", 32, {"img_size": 32}),
    ("test_vit_relpos", 32, {"img_size": 32}),
    ("deit_tiny_distilled_patch16_224", 32, VIT),
    ("beit_base_patch16_224", 32, VIT),
    ("eva02_tiny_patch14_224", 32, VIT),
    ("cait_xxs24_224", 32, VIT),
    ("xcit_nano_12_p8_224", 32, {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4, "cls_attn_layers": 1}),
    (
        "convit_tiny",
        32,
        {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 4, "local_up_to_layer": 2},
    ),
    (
        "swin_tiny_patch4_window7_224",
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    ),
    (
        "swinv2_tiny_window8_256",
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)},
    ),
    ("pvt_v2_b0", 32, {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 40, 64)}),
    (
        "twins_svt_small",
        64,
        {"img_size": 64, "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4), "depths": (1, 1, 2, 1)},
    ),
    (
        "pit_ti_224",
        32,
        {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8, 8), "depth": (1, 1, 1), "heads": (2, 2, 4)},
    ),
    (
        "levit_128s",
        64,
        {"img_size": 64, "embed_dim": (32, 48, 64), "num_heads": (2, 3, 4), "depth": (1, 1, 1), "key_dim": 8},
    ),
    ("efficientformer_l1", 224, {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 2)}),
    ("edgenext_xx_small", 64, {"dims": (16, 24, 32, 48), "depths": (1, 1, 2, 1)}),
    ("res2net50_26w_4s", 32, {"layers": (1, 1, 1, 1), "base_width": 8}),
    ("resnest14d", 32, {"layers": (1, 1, 1, 1)}),
    ("skresnet18", 32, {"layers": (1, 1, 1, 1)}),
    ("seresnet18", 32, {"layers": (1, 1, 1, 1)}),
    ("dla34", 64, {"channels": (8, 16, 16, 32, 32, 64)}),
    ("dpn48b", 32, {"k_sec": (1, 1, 1, 1)}),
    ("repvit_m0_9", 32, {"embed_dim": (16, 24, 32, 48), "depth": (1, 1, 1, 1)}),
    ("hgnetv2_b0", 32, {}),
)
BY_CLASS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("mlp_mixer.MlpMixer", 32, {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_blocks": 2}),
    ("convmixer.ConvMixer", 32, {"dim": 32, "depth": 2}),
    ("metaformer.MetaFormer", 32, {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}),
    (
        "pit.PoolingVisionTransformer",
        32,
        {
            "img_size": 32,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (8, 8, 8),
            "depth": (1, 1, 1),
            "heads": (2, 2, 4),
            "mlp_ratio": 2.0,
        },
    ),
    (
        "levit.Levit",
        64,
        {"img_size": 64, "embed_dim": (32, 48, 64), "num_heads": (2, 3, 4), "depth": (1, 1, 1), "key_dim": 8},
    ),
    ("inception_next.MetaNeXt", 32, {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}),
)
ENTRIES = (
    *(Entry(f"timm/{name}", partial(_made, name, side, options)) for name, side, options in MODELS),
    *(Entry(f"timm/{path}", partial(_of_class, path, side, options)) for path, side, options in BY_CLASS),
)
