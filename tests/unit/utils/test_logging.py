"""Log lines: plain without a terminal, a copy in a file, quiet on other processes."""

import logging

import pytest

from segfoundry.utils.logging import add_log_file, get_logger, remove_log_file, setup_logging


@pytest.fixture(autouse=True)
def restored():
    root = get_logger()
    before = (list(root.handlers), root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


def test_names_lie_under_one_root():
    assert get_logger().name == "segfoundry"
    assert get_logger("segfoundry.trainer.training.loop").name == "segfoundry.trainer.training.loop"
    assert get_logger("plugin").name == "segfoundry.plugin"


def test_plain_lines_go_to_standard_error_and_name_the_level_from_warnings_on(capsys):
    setup_logging()
    setup_logging()
    get_logger("x").info("one [bold] %d", 1)
    get_logger("x").warning("two")
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and len(lines) == 2
    assert lines[0].endswith("one [bold] 1") and "info" not in lines[0]
    assert lines[1].endswith("warning: two")


def test_quiet_processes_say_errors_only(capsys):
    setup_logging(quiet=True)
    get_logger("x").warning("no")
    get_logger("x").error("yes")
    assert capsys.readouterr().err.splitlines()[0].endswith("error: yes")


def test_log_file_gets_a_copy_until_it_is_removed(tmp_path, capsys):
    setup_logging()
    for text in ("first", "second"):
        handler = add_log_file(tmp_path / "log.txt")
        get_logger("x").info(text)
        remove_log_file(handler)
        get_logger("x").info("not in the file")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" INFO ")[1] for line in lines] == ["first", "second"]
    assert all(isinstance(h, logging.Handler) for h in get_logger().handlers)
