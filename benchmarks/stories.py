"""The public language model stories260K (five blocks, 512 words) as a Llama of transformers, and text for it."""

from __future__ import annotations

import struct
from functools import cache
from itertools import pairwise
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

import laconic
import manner

LENGTH, WINDOWS = 160, 64
HEADER = struct.Struct("7i")


def model() -> nn.Module:
    """Returns the model with its weights, in eval mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    manner.shared_data()
    data = (manner.DATA / "weights" / "llama2c_stories260K.bin").read_bytes()
    width, hidden, blocks, heads, pairs, words, context = HEADER.unpack_from(data)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=pairs,
        vocab_size=words,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        use_cache=False,
    )
    found = LlamaForCausalLM(config).float().eval()
    _fill(found, torch.frombuffer(bytearray(data[HEADER.size :]), dtype=torch.float32), heads, pairs)
    return found


def _fill(model: Any, flat: Tensor, heads: int, pairs: int) -> None:
    """Takes weights out of a file in the order of llama2.c."""
    taken, layers = 0, model.model.layers

    def fill(weights: list[nn.Parameter], turned: int | None = None) -> None:
        nonlocal taken
        for weight in weights:
            values = flat[taken : taken + weight.numel()].view_as(weight)
            weight.data.copy_(values if turned is None else _halves(values, turned))
            taken += weight.numel()

    fill([model.model.embed_tokens.weight])
    fill([layer.input_layernorm.weight for layer in layers])
    fill([layer.self_attn.q_proj.weight for layer in layers], heads)
    fill([layer.self_attn.k_proj.weight for layer in layers], pairs)
    fill([layer.self_attn.v_proj.weight for layer in layers])
    fill([layer.self_attn.o_proj.weight for layer in layers])
    fill([layer.post_attention_layernorm.weight for layer in layers])
    fill([layer.mlp.gate_proj.weight for layer in layers])
    fill([layer.mlp.down_proj.weight for layer in layers])
    fill([layer.mlp.up_proj.weight for layer in layers])
    fill([model.model.norm.weight])


def _halves(weight: Tensor, heads: int) -> Tensor:
    """Returns rows in the order that transformers turns them in: first all cosines of a head, then all sines."""
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


@cache
def own_text() -> Tensor:
    """Returns what the model itself once wrote, word ids `[128, 160]`."""
    manner.shared_data()
    found = numpy.load(manner.DATA / "stories260K_self_sampled_tokens.npz")
    return torch.from_numpy(found[found.files[0]].astype(numpy.int64))


@cache
def shakespeare() -> Tensor:
    """Returns the last windows of Tiny Shakespeare, word ids `[64, 160]`."""
    files = manner.shared_data().members("lm_text_public_domain.tar.xz")
    text = next(value for name, value in files.items() if "shakespeare" in name.lower()).decode()
    lines = text[-LENGTH * WINDOWS * 4 :].splitlines()
    ids = [word for line in lines if line.strip() for word in encode(line)]
    return torch.tensor(ids[-LENGTH * WINDOWS :]).view(WINDOWS, LENGTH)


@cache
def _vocabulary() -> dict[bytes, tuple[int, float]]:
    """Returns the place and score of each word."""
    data = (manner.DATA / "weights" / "llama2c_stories260K_tok512.bin").read_bytes()
    found: dict[bytes, tuple[int, float]] = {}
    at = 4
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        found[data[at + 8 : at + 8 + size]] = (len(found), score)
        at += 8 + size
    return found


def encode(line: str) -> list[int]:
    """Returns the word ids of a line: from characters on, the pair with the greatest score becomes one word."""
    known = _vocabulary()
    words = [character.encode() for character in f" {line}"]
    while pairs := [(known[a + b][1], -i) for i, (a, b) in enumerate(pairwise(words)) if a + b in known]:
        at = -max(pairs)[1]
        words[at : at + 2] = [words[at] + words[at + 1]]
    raw = [[known[w][0]] if w in known else [byte + 3 for byte in w] for w in words]
    return [1, *(i for ids in raw for i in ids)]


def task() -> laconic.Task:
    """Returns half of the model's own text, to calibrate on."""
    return laconic.Task(evaluate=[{"input_ids": ids} for ids in own_text()[:WINDOWS].split(16)])


@torch.no_grad()
def loss(model: nn.Module, ids: Tensor) -> float:
    """Returns the mean negative log-likelihood of each next word, in nats."""
    total = 0.0
    for part in ids.split(16):
        logits = model(input_ids=part).logits[:, :-1]
        total += float(functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    return round(total / ids[:, 1:].numel(), 4)
