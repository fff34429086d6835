"""SAM's prompt encoder, mask decoder, whole network, predictor and transforms against recorded tensors."""

import pytest

from ....support import goldens
from .golden_cases import full_size, network  # noqa: F401  (registers the readers)


def test_gradients_of_the_decoder_are_the_recorded_ones():
    network.check_decoder_gradients(goldens.find("sam", "mask_decoder"))


@goldens.parametrize("sam", {}, ("prompt_encoder", "mask_decoder", "sam_full", "transforms"))
def test_output(case, output):
    goldens.check(case, output)


@pytest.mark.slow
@goldens.parametrize("sam", {}, ("full_formula_*",))
def test_output_at_full_size(case, output):
    goldens.check(case, output)
