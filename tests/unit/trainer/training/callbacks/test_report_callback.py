import logging
from types import SimpleNamespace

import pytest

from segfoundry.trainer.run_folder.report_page import refresh_report
from segfoundry.trainer.training.callbacks.report_callback import ReportCallback
from segfoundry.utils.logging import get_logger


def loop(done=True, main=True):
    return SimpleNamespace(done=done, processes=SimpleNamespace(main=main))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "log.txt").write_text("a line\n")
    return tmp_path


def test_complete_training_leaves_a_report(run):
    ReportCallback(run).stop(loop(), None)
    assert "a line" in (run / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("state", "error"), [(loop(done=False), None), (loop(main=False), None), (loop(), RuntimeError("out of memory"))]
)
def test_no_report_of_an_incomplete_training(run, state, error):
    ReportCallback(run).stop(state, error)
    assert not (run / "report").exists()


def test_a_report_that_fails_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(get_logger(), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="segfoundry"):
        refresh_report(tmp_path / "absent")
    assert "no report was written" in caplog.text
