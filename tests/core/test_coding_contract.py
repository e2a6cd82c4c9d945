"""The guarantees of `laconic.core.coding.Coding`, over every coding."""

import json

import pytest
import torch

from core.samples import sample_codings
from laconic.core.codings import ALL, Coding

CODINGS = sample_codings()
every_coding = pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())


def test_every_kind_has_a_sample_and_a_name_of_its_own() -> None:
    assert {type(coding) for coding in CODINGS.values()} == set(ALL)
    assert len({kind.kind for kind in ALL}) == len(ALL)


@every_coding
def test_decode_has_the_shape_and_is_finite_float32(coding: Coding) -> None:
    decoded = coding.decode()
    assert decoded.shape == coding.shape
    assert decoded.dtype == torch.float32
    assert decoded.device.type == "cpu"
    assert decoded.is_contiguous()
    assert decoded.isfinite().all()


@every_coding
def test_decode_gives_memory_of_its_own(coding: Coding) -> None:
    before = coding.decode()
    coding.decode().fill_(9.0)
    assert torch.equal(coding.decode(), before)


@every_coding
def test_encoding_the_decoded_tensor_decodes_to_it_again(coding: Coding) -> None:
    assert torch.equal(coding.encode(coding.decode()).decode(), coding.decode())


@every_coding
def test_parts_decode_to_the_same_tensor_bit_for_bit(coding: Coding) -> None:
    config = json.loads(json.dumps(coding.config()))
    again = type(coding).from_parts(config, coding.tensors())
    assert again.config() == coding.config()
    assert torch.equal(again.decode().view(torch.int32), coding.decode().view(torch.int32))


@every_coding
def test_from_parts_leaves_the_config_as_it_is(coding: Coding) -> None:
    config = coding.config()
    type(coding).from_parts(config, coding.tensors())
    assert config == coding.config()


@every_coding
def test_size_is_the_bytes_of_what_is_stored(coding: Coding) -> None:
    assert coding.size_bytes == sum(len(t.numpy().tobytes()) for t in coding.tensors().values())


@every_coding
def test_project_is_encode_then_decode(coding: Coding) -> None:
    weight = torch.randn(coding.shape) * 3
    assert torch.equal(coding.project(weight), coding.encode(weight).decode())


@every_coding
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_types_are_coded_by_value(coding: Coding, dtype: torch.dtype) -> None:
    weight = torch.randn(coding.shape).to(dtype)
    assert torch.equal(coding.encode(weight).decode(), coding.encode(weight.float()).decode())


@every_coding
def test_encode_changes_neither_the_coding_nor_the_weight(coding: Coding) -> None:
    before, weight = coding.decode(), torch.randn(coding.shape)
    kept = weight.clone()
    coding.encode(weight)
    assert torch.equal(coding.decode(), before)
    assert torch.equal(weight, kept)


@every_coding
def test_parameters_and_strided_weights_are_welcome(coding: Coding) -> None:
    weight = torch.randn(coding.shape[::-1]).permute(tuple(range(len(coding.shape)))[::-1])
    coded = coding.encode(torch.nn.Parameter(weight))
    assert not coded.decode().requires_grad
    assert torch.equal(coded.decode(), coding.encode(weight.contiguous()).decode())


@every_coding
def test_a_coding_says_what_it_is_in_one_line(coding: Coding) -> None:
    assert str(coding)
    assert "\n" not in str(coding)
