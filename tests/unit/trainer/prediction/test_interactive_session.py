"""Interactive sessions, phrases and typed results, with a network that goes by colour."""

import numpy as np
import pytest
import torch
from PIL import Image

from segfoundry.modeling.build_model import build_model
from segfoundry.utils.errors import DataError, UserError
from segfoundry.utils.prompts import Circle, Point

from ....support import tiny_sam
from ....support.pointer import Pointer, picture, predictor, square
from ....support.prompted import DEMO


@pytest.fixture
def ready():
    return predictor()


@pytest.fixture
def session(ready):
    return ready.interactive(picture())


def centre(place):
    rows, columns = np.nonzero(square(place))
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def test_a_click_finds_the_object_under_it(session):
    mask = session.click(*centre(1))
    np.testing.assert_array_equal(mask, square(1))
    assert session.masks.shape == (1, 48, 64) and session.masks.dtype == bool
    assert session.scores.shape == (1,) and session.scores.dtype == np.float32 and 0.5 < session.scores[0] <= 1


def test_the_image_is_encoded_once(ready, session):
    for place in (0, 1, 2):
        session.click(*centre(place))
    session.text("red")
    session.predict(("panoptic",))
    assert ready.model.encoded == 1 and ready.model.rounds == 4


@pytest.mark.parametrize(
    "draw",
    [
        lambda s: s.box(25, 13, 31, 35),
        lambda s: s.scribble([(26, 15), (30, 30)], width=2),
        lambda s: s.polygon([(25, 14), (31, 14), (28, 30)]),
        lambda s: s.circle(28, 24, 2),
        lambda s: s.text("the green thing"),
    ],
)
def test_other_prompts_find_it_too(session, draw):
    np.testing.assert_array_equal(draw(session), square(1))


def test_the_masks_have_the_size_of_the_image_not_of_the_network(ready):
    session = ready.interactive(picture(192, 256))
    mask = session.click(4 * centre(2)[0], 4 * centre(2)[1])
    assert mask.shape == (192, 256)
    assert (mask & square(2, 192, 256)).sum() / (mask | square(2, 192, 256)).sum() > 0.9


def test_objects_are_independent_and_in_order(session):
    for place in (2, 0, 1):
        session.click(*centre(place))
        session.new_object()
    np.testing.assert_array_equal(session.masks, np.stack([square(2), square(0), square(1)]))
    session.select(1)
    session.click(*centre(0))
    assert len(session.objects) == 3 and len(session.objects[1].prompts) == 2
    session.remove(0)
    np.testing.assert_array_equal(session.masks, np.stack([square(0), square(1)]))
    assert session.current == 2


def test_a_negative_click_takes_away(session):
    session.box(0, 0, 64, 48)  # its mean colour is near the grey
    before = session.masks[0]
    after = session.click(1, 1, positive=False)
    assert before[1, 1] and not after[1, 1]


def test_the_last_mask_is_the_memory_of_the_next_round(session):
    session.click(*centre(0))
    first = session.objects[0].logits
    session.click(*centre(0))
    torch.testing.assert_close(session.objects[0].logits, 1.1 * first)


def test_undo_restores_the_earlier_state_exactly(session):
    session.click(*centre(0))
    before, masks = session.objects, session.masks
    session.click(1, 1, positive=False)
    session.new_object()
    session.text("blue")
    session.reset()
    assert session.objects == () and session.masks.shape == (0, 48, 64) and session.scores.shape == (0,)
    for _ in range(4):
        assert session.undo()
    assert session.objects is before and session.current == 0
    np.testing.assert_array_equal(session.masks, masks)
    again = session.click(1, 1, positive=False)
    session.undo()
    np.testing.assert_array_equal(again, session.click(1, 1, positive=False))
    assert session.undo() and session.undo() and not session.undo()


def test_clicks_correct_what_a_text_has_found(session):
    session.text("blue")
    session.click(1, 1, positive=False)
    mask = session.masks[0]
    np.testing.assert_array_equal(mask, square(2))
    assert session.objects[0].text == "blue" and len(session.objects[0].prompts) == 1


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda s: s.click(64.5, 3), "outside the image, which is 64 wide"),
        (lambda s: s.click(3, 3, positive=False), "something positive"),
        (lambda s: s.add(Point(9, 9), Point(9, 9, False)), "covers all that does"),
        (lambda s: s.scribble([]), "empty stroke"),
        (lambda s: s.text("  "), "expected words"),
        (lambda s: s.select(0), "there are 0"),
        (lambda s: s.select("a"), "object 'a': there are 0"),
        (lambda s: s.add(), "no prompt"),
    ],
)
def test_errors_change_nothing(session, act, text):
    with pytest.raises(UserError, match=text):
        act(session)
    assert session.objects == () and not session.undo()


def test_two_hundred_objects(session):
    for _ in range(200):
        session.click(*centre(0))
        session.new_object()
    assert session.masks.shape == (200, 48, 64) and session.masks.all(0).sum() == square(0).sum()


def test_phrases_are_answered_one_by_one(ready):
    result = ready.refer(picture(), ["the red one", "blue"])
    assert result.texts == ["the red one", "blue"] and result.scores.shape == (2,)
    np.testing.assert_array_equal(result.masks, np.stack([square(0), square(2)]))
    np.testing.assert_array_equal(ready.refer(picture(), "blue").masks[0], square(2))
    assert ready.refer(picture(), []).masks.shape == (0, 48, 64)
    for wrong in (["red", ""], 5):
        with pytest.raises(UserError, match="expected words"):
            ready.refer(picture(), wrong)


def test_typed_results(ready):
    assert ready.panoptic(picture()).ids.shape == (48, 64)
    assert ready.semantic(picture()).dtype == np.int64
    assert ready.instances(picture()).masks.shape == (1, 48, 64)


def test_networks_say_which_prompts_they_take():
    with pytest.raises(UserError, match="takes no prompts"):
        predictor(Pointer(kinds=())).interactive(picture())
    words_only = predictor(Pointer(kinds=("text",))).interactive(picture())
    with pytest.raises(UserError, match="takes no points, boxes and other strokes as prompts.*it understands texts"):
        words_only.click(3, 3)
    clicks_only = predictor(Pointer(kinds=("stroke",)))
    with pytest.raises(UserError, match="takes no texts"):
        clicks_only.refer(picture(), "red")
    with pytest.raises(UserError, match="takes no texts"):
        clicks_only.interactive(picture()).text("red")


def test_networks_that_answer_prompts_only():
    model = Pointer()
    model.result_kinds = frozenset()
    with pytest.raises(UserError, match="gives no panoptic result; it answers prompts only"):
        predictor(model).panoptic(picture())


@pytest.mark.parametrize("form", ["path", "pillow", "array", "alpha", "16 bit"])
def test_pictures_of_every_form(ready, tmp_path, form):
    image = picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    forms = {
        "path": tmp_path / "a.png",
        "pillow": Image.open(tmp_path / "a.png"),
        "array": image,
        "alpha": np.dstack([image, image[..., :1]]),
        "16 bit": image.astype(np.uint16) * 257,
    }
    np.testing.assert_array_equal(ready.interactive(forms[form]).click(*centre(1)), square(1))


def test_a_picture_of_one_pixel(ready):
    session = ready.interactive(np.full((1, 1, 3), 200, np.uint8))
    np.testing.assert_array_equal(session.click(0, 0), [[True]])
    assert ready.panoptic(np.zeros((1, 1, 3), np.uint8)).ids.shape == (1, 1)


def test_no_picture(ready):
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), None):
        with pytest.raises(DataError, match="image: found"):
            ready.panoptic(wrong)
    with pytest.raises(DataError, match="INPUT.MAX_PIXELS"):
        predictor(INPUT__MAX_PIXELS=100).panoptic(picture())


def test_masks_beyond_the_memory_limit_are_refused_before_they_are_made():
    ready = predictor(TEST__MAX_RESULT_GB=5e-6)
    session = ready.interactive(picture())
    session.click(*centre(0))
    assert len(session.masks) == 1
    session.new_object()
    session.click(*centre(1))
    with pytest.raises(UserError, match="2 masks of 64 x 48 .* TEST.MAX_RESULT_GB"):
        _ = session.masks
    with pytest.raises(UserError, match="TEST.MAX_RESULT_GB.*TEST.DETECTIONS_PER_IMAGE"):
        ready.instances(picture())
    assert ready.model.rounds == 2


def test_the_package_offers_the_predictor_without_loading_torch():
    import subprocess
    import sys

    code = (
        "import sys, segfoundry\n"
        "assert 'Predictor' in dir(segfoundry) and 'torch' not in sys.modules\n"
        "assert segfoundry.Predictor.from_checkpoint and 'torch' in sys.modules\n"
        "try:\n    segfoundry.Nothing\nexcept AttributeError as error:\n    assert 'Nothing' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_object_shown_on_one_image_is_found_on_another():
    with pytest.raises(UserError, match="takes no objects shown on other images"):
        predictor().interactive(picture()).like(None)
    demo = predictor(**DEMO)
    demo.model = build_model(demo.cfg, demo.categories).eval()
    first, second = demo.interactive(picture()), demo.interactive(picture())
    mask = second.like(first.example(Circle(*centre(0), 5)))
    assert mask.shape == (48, 64) and len(second.objects) == 1 and first.objects == ()
    second.click(*centre(0))
    assert len(second.objects) == 1 and len(second.objects[0].prompts) == 1
    assert second.undo() and second.undo() and second.objects == ()


@pytest.mark.parametrize(("task", "warnings"), [("dlo", 1), ("promptable", 0)])
def test_clicks_on_a_network_for_foreground_are_answered_with_a_warning(task, warnings, caplog, tmp_path):
    network = tiny_sam.predictor(SAM__TASK=task)
    network.source = tmp_path / "sam.pt"  # each file is warned about once in a process
    session = network.interactive(picture(40, 60))
    with caplog.at_level("WARNING"):
        assert session.click(30, 20).shape == (40, 60)
        session.click(10, 20, positive=False)
    assert sum("SAM.TASK dlo" in record.message for record in caplog.records) == warnings
