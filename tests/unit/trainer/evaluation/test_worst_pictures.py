import numpy as np

from segfoundry.trainer.evaluation.worst_pictures import WorstPictures
from segfoundry.utils.image_io import read_image, write_png
from segfoundry.utils.structures.category import Category
from segfoundry.utils.structures.results import ForegroundResult, PanopticResult, Prediction, Segment
from segfoundry.utils.structures.samples import Sample
from segfoundry.utils.visualizer import ERROR_COLORS

CATEGORIES = [Category(1, "sky", False, (200, 10, 10)), Category(2, "cup", False, (10, 200, 10))]


def case(tmp_path, index, wrong_rows):
    path = tmp_path / f"{index}.png"
    write_png(path, np.full((20, 10, 3), index, np.uint8))
    truth = PanopticResult(np.ones((20, 10), np.int32), [Segment(1, 0, False)])
    ids = np.ones((20, 10), np.int32)
    ids[:wrong_rows] = 2
    said = PanopticResult(ids, [Segment(1, 0, False), Segment(2, 1, False)])
    empty = np.zeros((0, 0, 3), np.uint8)
    sample = Sample(empty, index, f"a/{index}", str(path), (20, 10), panoptic=truth)
    return sample, Prediction(panoptic=said)


def test_the_worst_are_written_first_and_old_ones_go(tmp_path):
    pictures = WorstPictures(CATEGORIES, count=2)
    for index, wrong in enumerate([2, 10, 0, 20, 5]):
        pictures.process(*case(tmp_path, index, wrong))
    stale = tmp_path / "eval" / "pictures" / "009_old_wrong1.0.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    written = pictures.write(tmp_path / "eval")
    assert [p.name for p in written] == ["001_a_3_wrong100.0.png", "002_a_1_wrong50.0.png"]
    assert sorted(stale.parent.iterdir()) == written


def test_two_processes_keep_what_one_would(tmp_path):
    cases = [case(tmp_path, i, wrong) for i, wrong in enumerate([4, 4, 8, 1, 4, 8])]
    alone = WorstPictures(CATEGORIES, count=4)
    shards = [WorstPictures(CATEGORIES, count=4) for _ in range(2)]
    for i, pair in enumerate(cases):
        alone.process(*pair)
        shards[i // 3].process(*pair)
    shards[0].merge([shard.state() for shard in shards])
    names = [p.name for p in alone.write(tmp_path / "one")]
    assert [p.name for p in shards[0].write(tmp_path / "two")] == names
    assert [n.split("_")[2] for n in names] == ["2", "5", "0", "1"]


def test_images_without_panoptic_ground_truth_are_passed_over(tmp_path):
    sample, prediction = case(tmp_path, 0, 3)
    sample.panoptic = None
    pictures = WorstPictures(CATEGORIES)
    pictures.process(sample, prediction)
    assert pictures.write(tmp_path / "eval") == []
    assert pictures.summarize() == {}


def test_foreground_counts_by_its_overlap(tmp_path):
    pictures = WorstPictures(CATEGORIES, count=2)
    for index, rows in enumerate([8, 3, 5]):  # of 10
        path = tmp_path / f"{index}.png"
        write_png(path, np.full((40, 60, 3), index, np.uint8))  # the masks have another size than the file
        truth, mask = np.zeros((2, 20, 30), bool)
        truth[5:15], mask[5 : 5 + rows] = True, True
        sample = Sample(np.zeros((0, 0, 3), np.uint8), index, f"c{index}", str(path), (20, 30), foreground=truth)
        pictures.process(sample, Prediction(foreground=ForegroundResult(mask, mask.astype(np.float32))))
    written = pictures.write(tmp_path / "eval")
    assert [p.name for p in written] == ["001_c1_wrong70.0.png", "002_c2_wrong50.0.png"]
    panels = read_image(written[0])
    assert (panels == ERROR_COLORS["nothing predicted"]).all(axis=-1).sum() > 1000
    assert not (panels == ERROR_COLORS["wrong category"]).all(axis=-1).any()
