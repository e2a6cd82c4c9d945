"""Models of Hugging Face transformers from small configurations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .entry import Built, Entry, Inputs
from .libraries import transformers

WORDS, LENGTH = 99, 12
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": WORDS,
}
ENCODER = {**TEXT, "max_position_embeddings": 64}
DECODER = {
    **ENCODER,
    "num_key_value_heads": 2,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {**DECODER, "num_experts_per_tok": 2}
SEQUENCES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": WORDS,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
SOUND = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 32,
}


def _words() -> Inputs:
    return {"input_ids": torch.randint(3, WORDS, (2, LENGTH))}


def _masked_words() -> Inputs:
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, LENGTH - 3 :] = 0
    return {**_words(), "attention_mask": mask}


def _pairs() -> Inputs:
    return {**_words(), "decoder_input_ids": torch.randint(3, WORDS, (2, 7))}


def _images(side: int = 32) -> Inputs:
    return {"pixel_values": torch.randn(2, 3, side, side)}


def _waves() -> Inputs:
    return {"input_values": torch.randn(2, 1600)}


def _spectra() -> Inputs:
    return {"input_features": torch.randn(2, 16, 40), "decoder_input_ids": torch.randint(3, WORDS, (2, 7))}


def _spectrogram() -> Inputs:
    return {"input_values": torch.randn(2, 48, 16)}


def _words_and_images() -> Inputs:
    return {**_words(), **_images()}


def _made(model: str, inputs: Callable[[], Inputs], options: dict[str, Any]) -> Built:
    library = transformers()
    cls = getattr(library, model)
    options = {name: _config(value) for name, value in options.items()}
    return cls(cls.config_class(**options)), inputs()


def _config(value: Any) -> Any:
    """A nested configuration is written as `(class name, options)`."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict):
        return getattr(transformers(), value[0])(**value[1])
    return value


RESNET = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "layer_type": "basic"}
CLIP = {
    "text_config": {**TEXT, "max_position_embeddings": 64, "eos_token_id": 2, "bos_token_id": 0},
    "vision_config": VISION,
    "projection_dim": 24,
}
MODELS: tuple[tuple[str, str, Callable[[], Inputs], dict[str, Any]], ...] = (
    ("bert", "BertForSequenceClassification", _masked_words, ENCODER),
    ("roberta", "RobertaForMaskedLM", _words, {**ENCODER, "pad_token_id": 1}),
    (
        "distilbert",
        "DistilBertForSequenceClassification",
        _words,
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": WORDS, "max_position_embeddings": 64},
    ),
    ("albert", "AlbertForMaskedLM", _words, {**ENCODER, "embedding_size": 16}),
    ("electra", "ElectraForPreTraining", _words, {**ENCODER, "embedding_size": 16}),
    (
        "deberta",
        "DebertaForSequenceClassification",
        _words,
        {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    ),
    (
        "deberta_v2",
        "DebertaV2ForSequenceClassification",
        _words,
        {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    ),
    ("mpnet", "MPNetForMaskedLM", _words, ENCODER),
    (
        "modernbert",
        "ModernBertForMaskedLM",
        _words,
        {**ENCODER, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    (
        "funnel",
        "FunnelForSequenceClassification",
        _words,
        {
            "vocab_size": WORDS,
            "block_sizes": [1, 1],
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 64,
            "num_decoder_layers": 1,
        },
    ),
    ("fnet", "FNetForSequenceClassification", _words, {**ENCODER, "use_tpu_fourier_optimizations": False}),
    (
        "squeezebert",
        "SqueezeBertForSequenceClassification",
        _words,
        {
            **ENCODER,
            "embedding_size": 32,
            "q_groups": 2,
            "k_groups": 2,
            "v_groups": 2,
            "post_attention_groups": 1,
            "intermediate_groups": 2,
            "output_groups": 2,
        },
    ),
    (
        "t5",
        "T5ForConditionalGeneration",
        _pairs,
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": WORDS,
            "use_cache": False,
            "decoder_start_token_id": 0,
        },
    ),
    ("bart", "BartForConditionalGeneration", _pairs, {**SEQUENCES, "max_position_embeddings": 64}),
    ("pegasus", "PegasusForConditionalGeneration", _pairs, {**SEQUENCES, "max_position_embeddings": 64}),
    ("marian", "MarianMTModel", _pairs, {**SEQUENCES, "max_position_embeddings": 64}),
    (
        "gpt2",
        "GPT2LMHeadModel",
        _words,
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "n_positions": 64, "use_cache": False},
    ),
    ("gpt_neox", "GPTNeoXForCausalLM", _words, {**ENCODER, "use_cache": False}),
    (
        "opt",
        "OPTForCausalLM",
        _words,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "word_embed_proj_dim": 32,
            "vocab_size": WORDS,
            "max_position_embeddings": 64,
            "use_cache": False,
        },
    ),
    (
        "bloom",
        "BloomForCausalLM",
        _words,
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "use_cache": False},
    ),
    ("llama", "LlamaForCausalLM", _words, DECODER),
    ("qwen2", "Qwen2ForCausalLM", _words, DECODER),
    ("qwen3", "Qwen3ForCausalLM", _words, {**DECODER, "head_dim": 8}),
    ("gemma", "GemmaForCausalLM", _words, {**DECODER, "head_dim": 8}),
    ("gemma2", "Gemma2ForCausalLM", _words, {**DECODER, "head_dim": 8}),
    ("mistral", "MistralForCausalLM", _words, {**DECODER, "head_dim": 8}),
    ("mixtral", "MixtralForCausalLM", _words, {**EXPERTS, "num_local_experts": 4}),
    (
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        _words,
        {**EXPERTS, "num_experts": 4, "moe_intermediate_size": 24, "head_dim": 8},
    ),
    ("phi", "PhiForCausalLM", _words, {**DECODER, "num_key_value_heads": 4}),
    ("phi3", "Phi3ForCausalLM", _words, DECODER),
    ("olmo", "OlmoForCausalLM", _words, DECODER),
    ("falcon", "FalconForCausalLM", _words, {**ENCODER, "use_cache": False}),
    (
        "mamba",
        "MambaForCausalLM",
        _words,
        {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": WORDS, "use_cache": False},
    ),
    ("vit", "ViTForImageClassification", _images, VISION),
    ("deit", "DeiTForImageClassification", _images, VISION),
    ("beit", "BeitForImageClassification", _images, VISION),
    ("dinov2", "Dinov2ForImageClassification", _images, {**VISION, "mlp_ratio": 2}),
    (
        "swin",
        "SwinForImageClassification",
        _images,
        {"image_size": 32, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
    (
        "segformer",
        "SegformerForSemanticSegmentation",
        partial(_images, 64),
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 24, 32, 48],
            "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 32,
        },
    ),
    ("convnext", "ConvNextForImageClassification", _images, {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}),
    ("resnet", "ResNetForImageClassification", _images, RESNET),
    (
        "mobilevit",
        "MobileViTForImageClassification",
        partial(_images, 64),
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 16, 16, 24, 32, 48, 64],
            "num_attention_heads": 4,
        },
    ),
    (
        "poolformer",
        "PoolFormerForImageClassification",
        _images,
        {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]},
    ),
    (
        "detr",
        "DetrForObjectDetection",
        partial(_images, 64),
        {
            "backbone_config": ("ResNetConfig", {**RESNET, "out_features": ["stage4"]}),
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "num_queries": 5,
        },
    ),
    (
        "whisper",
        "WhisperForConditionalGeneration",
        _spectra,
        {**SEQUENCES, "num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 20},
    ),
    ("wav2vec2", "Wav2Vec2ForCTC", _waves, SOUND),
    ("hubert", "HubertForCTC", _waves, SOUND),
    (
        "audio_spectrogram",
        "ASTForAudioClassification",
        _spectrogram,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "patch_size": 8,
            "frequency_stride": 8,
            "time_stride": 8,
            "max_length": 48,
            "num_mel_bins": 16,
        },
    ),
    ("clip", "CLIPModel", _words_and_images, CLIP),
    (
        "siglip",
        "SiglipModel",
        _words_and_images,
        {"text_config": {**TEXT, "max_position_embeddings": 64, "projection_size": 32}, "vision_config": VISION},
    ),
)
ENTRIES = tuple(
    Entry(f"transformers/{name}", partial(_made, model, inputs, options)) for name, model, inputs, options in MODELS
)
