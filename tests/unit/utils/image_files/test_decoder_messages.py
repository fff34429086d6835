"""What decoders say while they go on."""

import os
import sys
import warnings

from segfoundry.utils.image_files.decoder_messages import decoder_messages


def test_texts_of_libraries_and_warnings_of_python_are_collected(capfd):
    with decoder_messages() as messages:
        os.write(2, b"Corrupt data\n\nCorrupt data\n")
        warnings.warn("odd tag", stacklevel=1)
        assert messages == []
    assert messages == ["Corrupt data", "odd tag"]
    print("after", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "after\n"


def test_an_error_leaves_standard_error_as_it_was(capfd):
    try:
        with decoder_messages():
            raise OSError("truncated")
    except OSError:
        os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
