"""Formulas of weights and images in the words of recorded cases."""

import zlib

import numpy as np
import pytest
import torch

from ...support.formula_weights import formula_image, formula_tensor

RULES = [
    ["name ends with running_var", "0.5+|n|"],
    ["name ends with batches", "0"],
    ["1-dimensional and name ends with weight", "1+0.1*n"],
    ["name contains mask, pos or iou", "0.25*n"],
    ["otherwise", "n/sqrt(prod(shape[1:]))"],
]


@pytest.mark.parametrize(
    ("name", "shape", "value"),
    [
        ("a.running_var", (4,), lambda n: 0.5 + abs(n)),
        ("a.batches", (4,), lambda n: 0 * n),
        ("a.weight", (4,), lambda n: 1 + 0.1 * n),
        ("a.iou.weight", (3, 2), lambda n: 0.25 * n),
        ("a.weight", (2, 3, 3), lambda n: n / 3),
    ],
)
def test_the_first_rule_that_holds_counts(name, shape, value):
    n = np.random.RandomState(zlib.crc32(f"salt/{name}".encode())).standard_normal(shape)
    found = formula_tensor(name, torch.empty(shape), "salt/", RULES)
    torch.testing.assert_close(found, torch.from_numpy(value(n)).float())
    assert name == "a.batches" or not found.equal(formula_tensor(name, torch.empty(shape), "", RULES))


@pytest.mark.parametrize("rules", [[], [["otherwise", "exp(n)"]], [["name rhymes with a", "n"]]])
def test_unknown_words_are_refused(rules):
    with pytest.raises(ValueError):
        formula_tensor("a", torch.empty(2), "", rules)


def test_images_are_arithmetic():
    image = formula_image((3, 5), "img[y,x,c] = (x*(3+c) + 90*y) % 256, uint8, RGB")
    assert image.shape == (3, 5, 3) and image.dtype == np.uint8 and image[2, 4].tolist() == [192, 196, 200]
    for formula in ("img[y,x,c] = open(x), uint8, RGB", "img[y,x,c] = x**9, uint8, RGB", "x"):
        with pytest.raises(ValueError, match="unknown formula"):
            formula_image((1, 1), formula)
