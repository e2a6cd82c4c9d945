"""`laconic quantize | sparsify | factorize | price` as a shell runs them."""

from pathlib import Path

import pytest
import torch

from laconic.core.state import load_state

from . import nets
from .conftest import Laconic


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("quantize", ("--bits", "0.*=8,*=4"), "4-bit symmetric grid per channel"),
        ("quantize", ("--activation-bits", 4, "--activation-per", "token"), "4 bits, the range of each vector"),
        ("quantize", ("--bits", 3, "--per", 8, "--in-order"), "3-bit symmetric grid per group of 8"),
        ("sparsify", ("--sparsity", 0.75, "--bits", 3), "% zeros"),
        ("sparsify", ("--pattern", "2:4", "--method", "wanda", "--correct"), "0.bias: dense"),
        ("factorize", ("--rank", 2), "two linear layers of rank 2"),
    ],
)
def test_a_network_is_written_that_loads_and_what_became_of_it_is_said(
    laconic: Laconic, tmp_path: Path, command: str, options: tuple[object, ...], said: str
) -> None:
    out = tmp_path / "small"
    found = laconic(command, "nets:build", "--data", "nets:task", *options, "--out", out, "--json").json
    assert any(said in edit for edit in found["edits"]) and found["out"] == str(out)
    assert found["bytes"][1] == sum(path.stat().st_size for path in out.iterdir())
    assert set(found["scores"]) == {"original", "changed"} and found["scores"]["changed"]["predictions"] == 64
    model, plan = load_state(out, nets.build())
    assert [str(edit) for edit in plan] == found["edits"]
    assert model(torch.zeros(2, 16)).shape == (2, 4)
    shown = laconic(command, "nets:build", "--data", "nets:task", *options, "--out", out)
    assert shown.code == 0 and said in shown.out and "original: accuracy" in shown.out


def test_a_layer_that_nothing_reached_is_named_in_one_line(laconic: Laconic, tmp_path: Path) -> None:
    found = laconic("quantize", "nets:starved", "--data", "nets:task", "--out", tmp_path / "small")
    assert found.code == 0
    assert found.err.startswith("laconic: quantize: the calibration data never reached 2.weight (nothing but zeros")
    assert found.err.count("\n") == 1


def test_price_lists_every_offer_and_the_choice_and_writes_nothing(laconic: Laconic, tmp_path: Path) -> None:
    found = laconic("price", "nets:build", "--data", "nets:task", "--measure", 2, "--size", 0.3, "--json").json
    assert {offer["layer"] for offer in found["offers"]} == {"0.weight", "3.weight"} == set(found["choice"])
    assert sum(offer["measured_nats"] is not None for offer in found["offers"]) == 2
    shown = laconic("price", "nets:build", "--data", "nets:task", "--measure", 0, "--size", "30 %", "--everything")
    assert shown.code == 0 and shown.err == "" and "For size <= 30% of the original" in shown.out
    assert "% zeros by bitmap, rest 8 learned values" in shown.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quantize", "--bits", 9), "bits: got 9; expected a whole number from 2 to 8"),
        (
            ("quantize", "--bits", "0.*=x"),
            "quantize.bits: got '0.*=x'; expected a whole number from 2 to 8, or",
        ),
        (("quantize", "--per", "row"), "per: got 'row'"),
        (("quantize", "--activation-bits", 4, "--activation-per", "row"), "per: got 'row'"),
        (("quantize", "--first-bits", 8), "quantize.activation_bits: got None; expected a whole number from 2 to 8"),
        (("sparsify", "--sparsity", 1), "sparsity: got 1.0; expected"),
        (("sparsify", "--pattern", "stripes"), "'stripes'"),
        (("sparsify", "--method", "luck"), "sparsify.method: got 'luck'; expected one of 'magnitude'"),
        (("factorize", "--ratio", 2), "factorize.ratio: got 2.0; expected a fraction in (0, 1)"),
        (("factorize", "--rank", 2, "--energy", 0.5), "factorize: got energy and rank; expected one of them"),
        (("factorize", "--method", "qr"), "factorize.method: got 'qr'; expected one of activation-aware"),
        (("price", "--size", 0.001), "Budget.size: got"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_two(
    laconic: Laconic, tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    command, *options = arguments
    place = () if command == "price" else ("--out", tmp_path / "small")
    ran = laconic(command, "nets:build", "--data", "nets:task", *options, *place)
    assert ran.code == 2 and said in ran.line
    assert list(tmp_path.iterdir()) == []
