"""Mask logits at the size of an image."""

import pytest
import torch
from torch.nn import functional as F

from segfoundry.modeling.sam.network.mask_upscale import MaskUpscaler


@pytest.mark.parametrize(("inside", "size"), [((64, 40), (90, 57)), ((1, 64), (1, 200)), ((64, 64), (7, 7))])
def test_one_product_equals_two_interpolations(inside, size):
    low_res = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    padded = F.interpolate(low_res[:, None], (64, 64), mode="bilinear", align_corners=False)
    expected = F.interpolate(padded[..., : inside[0], : inside[1]], size, mode="bilinear", align_corners=False)[:, 0]
    upscaler = MaskUpscaler(16, 64, inside, size, torch.device("cpu"))
    torch.testing.assert_close(upscaler.columns_first(low_res), expected.mT, rtol=0, atol=5e-6)
    torch.testing.assert_close(upscaler.rows_first(low_res), expected, rtol=0, atol=5e-6)
    dense = MaskUpscaler(16, 64, inside, size, torch.device("cpu"))
    dense._sparse, dense._rows, dense._columns = False, *map(_dense, (dense._rows, dense._columns))
    torch.testing.assert_close(dense.columns_first(low_res.bfloat16()), expected.mT, rtol=0, atol=5e-2)


def _dense(matrix):
    return torch.from_numpy(matrix.toarray())
