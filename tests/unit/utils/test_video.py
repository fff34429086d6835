import numpy as np
import pytest

from segfoundry.utils.errors import DataError
from segfoundry.utils.video import read_video, video_info, write_video


def frames(count=6, height=48, width=64):
    for i in range(count):
        yield np.full((height, width, 3), (30 * i, 60, 200 - 20 * i), np.uint8)


def test_round_trip(tmp_path):
    path = tmp_path / "a.mp4"
    assert write_video(path, frames(), 12.5) == 6
    back = list(read_video(path))
    assert len(back) == 6
    for written, read in zip(frames(), back, strict=True):
        assert np.abs(written.astype(int) - read).mean() < 6
    info = video_info(path)
    assert (info.height, info.width, info.frames) == (48, 64, 6)
    assert info.fps == pytest.approx(12.5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_size_is_extended_to_even(tmp_path):
    write_video(tmp_path / "a.mp4", frames(2, 47, 63), 25)
    assert next(read_video(tmp_path / "a.mp4")).shape == (48, 64, 3)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match="bad.mp4"):
        list(read_video(path))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="absent.mp4"):
        video_info(tmp_path / "absent.mp4")


def test_failed_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, frames(), 25)
    before = path.read_bytes()

    def broken():
        yield from frames(2)
        yield np.zeros((10, 10, 3), np.uint8)

    with pytest.raises(DataError, match="frame 2"):
        write_video(path, broken(), 25)
    with pytest.raises(DataError, match="no frame"):
        write_video(path, iter(()), 25)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
