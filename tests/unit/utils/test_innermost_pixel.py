"""The pixel in the middle of a mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from segfoundry.utils.innermost_pixel import innermost_pixel


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any))
def test_it_is_the_first_pixel_farthest_from_the_background_and_from_the_outside(mask):
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column, found = innermost_pixel(mask)
    assert abs(found - distance.max()) < 1e-4
    assert (row, column) == np.unravel_index(np.argmax(distance > distance.max() - 1e-4), mask.shape)
