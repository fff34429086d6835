"""Another set of SEEM's cases, of other sizes in the same form, is read as well; and readers see a wrong value."""

from functools import partial

import pytest

from ....support import goldens, second_seem_model, second_seem_set, second_seem_whole
from ....support.golden_proof import assert_read
from . import test_golden  # noqa: F401  (registers the readers)

RECORD = {
    "focalnet_other": second_seem_set.record_focalnet,
    "davit_other": second_seem_set.record_davit,
    "vit_pyramid": second_seem_set.record_pyramid,
    "msdeform_core": second_seem_set.record_deformable_core,
    "msdeform_layer": second_seem_set.record_deformable_layer,
    "pixel_decoder_fpn": partial(second_seem_set.record_pixel_decoder, kind="fpn"),
    "pixel_decoder_deform": partial(second_seem_set.record_pixel_decoder, kind="deform"),
    "lang_encoder": second_seem_set.record_language,
    "next_click": second_seem_set.record_clicks,
    "postprocess": second_seem_set.record_postprocess,
    "seem_v1_objects": second_seem_model.record_objects,
    "seem_v1_all": second_seem_model.record_all_prompts,
    "seem_v0_other": second_seem_model.record_v0,
    "seem_demo_other": second_seem_model.record_demo,
    "criterion": second_seem_model.record_criterion,
    "full_model": second_seem_whole.record_model,
}


@pytest.mark.parametrize("name", RECORD)
def test_recorded_tensors(tmp_path, name):
    RECORD[name](tmp_path)
    assert_read(goldens.find("seem", name, tmp_path))
