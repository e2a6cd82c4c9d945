"""The rows of peers_oneshot.py on a language model: GPTQ of other tools beside Laconic's, in 4 and 3 bits.

The 35 linear layers inside the blocks of stories260K, one symmetric scale an output channel; embedding and head, which
share their weight, stay float. All calibrate on the same 64 sequences of 160 words that the model itself once wrote;
`stories` is the loss on 64 others, `shakespeare` on the end of Tiny Shakespeare, which the model was not made for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import laconic
import stories
from laconic.quantize import BlockReconstruction, CompensatedRounding, RoundToNearest
from laconic.solve import code_in_order

BITS = (4, 3)


def by_laconic(bits: int, *, compensate: bool = True, in_order: bool = False, reconstruct: bool = False) -> nn.Module:
    model, task = stories.model(), stories.task()
    technique = CompensatedRounding(bits=bits) if compensate else RoundToNearest(bits=bits)
    evidence = laconic.calibrate(model, task, gradients=False, activations=False)
    inside = {name: seen for name, seen in evidence.layers.items() if ".layers." in name}
    weights = dict(model.named_parameters())
    plan = laconic.Plan.of(technique.edit(weights[name], seen.layer, seen) for name, seen in inside.items())
    if in_order:
        plan = code_in_order(model, plan, task, technique.encode, parameters=inside.keys())
    if reconstruct:
        plan = BlockReconstruction().improve(model, plan, task, encode=technique.encode)
    return laconic.apply(model, plan)


def by_neural_compressor(bits: int) -> nn.Module:
    from neural_compressor.torch.quantization import GPTQConfig, convert, prepare

    model = stories.model()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)  # It does not begin without a path to a model.
        settings = GPTQConfig(bits=bits, group_size=-1, use_sym=True, model_path=folder)
        prepared = prepare(model, settings.set_local("lm_head", GPTQConfig(dtype="fp32")))
        for ids in stories.own_text()[: stories.WINDOWS].split(1):
            prepared(ids)
        return convert(prepared)


def by_llm_compressor(bits: int) -> nn.Module:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from tokenizers import Tokenizer, models
    from torch.utils.data import DataLoader
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    weights = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "channel"}
    recipe = GPTQModifier(ignore=["lm_head"], config_groups={"all": {"targets": ["Linear"], "weights": weights}})
    samples = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in stories.own_text()]
    with tempfile.TemporaryDirectory() as folder:
        stories.model().save_pretrained(folder)  # It wants to know where a model comes from, and some tokenizer.
        model = LlamaForCausalLM.from_pretrained(folder).eval()
        oneshot(
            model=model,
            processor=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())),
            dataset=DataLoader(samples[: stories.WINDOWS], batch_size=1),
            recipe=recipe,
            num_calibration_samples=stories.WINDOWS,
            max_seq_length=stories.LENGTH,
            log_dir=None,
        )
    return model


TOOLS: dict[str, Callable[[int], nn.Module]] = {
    "laconic_nearest": lambda bits: by_laconic(bits, compensate=False),
    "laconic": by_laconic,
    "laconic_in_order": lambda bits: by_laconic(bits, in_order=True),
    "laconic_reconstructed": lambda bits: by_laconic(bits, in_order=True, reconstruct=True),
    "neural_compressor_gptq": by_neural_compressor,
    "llm_compressor_gptq": by_llm_compressor,
}
ROWS = {f"language_w{bits}/{name}": (tool, bits) for bits in BITS for name, tool in TOOLS.items()}


def judged(model: nn.Module) -> dict[str, float]:
    """Returns the losses in nats a word."""
    held = stories.own_text()[stories.WINDOWS :]
    return {"stories": stories.loss(model, held), "shakespeare": stories.loss(model, stories.shakespeare())}


def ready() -> Any:
    """Loads what every tool needs, before time and memory are counted."""
    return stories.model(), stories.own_text(), stories.shakespeare()
