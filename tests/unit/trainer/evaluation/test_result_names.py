"""Names of results."""

from segfoundry.trainer.evaluation.result_names import dataset_label, scalars


def test_a_second_part_of_a_set_has_the_split_in_its_name():
    assert dataset_label([], "scenes", "val") == "scenes"
    assert dataset_label(["scenes"], "scenes", "test") == "scenes_test"


def test_figures_are_single_numbers():
    summary = {
        "panoptic": {"PQ": 50, "classes": {"cup": 1.0}, "complete": True, "images": 3},
        "semantic": {"mIoU": 0.5},
    }
    assert scalars("scenes", summary) == {"scenes/panoptic/PQ": 50.0, "scenes/semantic/mIoU": 0.5}
