"""The model libraries, imported once, beside a PyTorch that they were not compiled for too."""

import importlib
import sys
from types import ModuleType

import torch

# What torchvision's compiled part declares. Its wheel's does not load beside every build of PyTorch; its Python part
# needs the declarations all the same, and no model of the zoo calls the operators.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "_roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "SymInt batch_size, SymInt channels, SymInt height, SymInt width, int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
    "-> (Tensor, Tensor)",
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor",
)
_declared: list[torch.library.Library] = []


def torchvision() -> ModuleType:
    """Returns torchvision."""
    if "torchvision" not in sys.modules and not _declared:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError:
            _forget("torchvision")
            library = torch.library.Library("torchvision", "DEF")
            for schema in SCHEMAS:
                library.define(schema)
            _declared.append(library)
    return importlib.import_module("torchvision")


def timm() -> ModuleType:
    """Returns timm, which needs torchvision."""
    torchvision()
    return importlib.import_module("timm")


def transformers() -> ModuleType:
    """Returns transformers, which looks for torchvision."""
    torchvision()
    found = importlib.import_module("transformers")
    found.utils.logging.set_verbosity_error()
    return found


def _forget(package: str) -> None:
    """Takes back a failed import."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
