"""What decoders of pictures complain about while they go on: damage that they bridged, unknown tags.

The C libraries write such texts to the process's standard error, Pillow raises Python warnings.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def decoder_messages() -> Iterator[list[str]]:
    """Collects the complaints of decoders that run inside; the list is filled when the block ends.

    Standard error belongs to the whole process: nothing else may write to it meanwhile, so this is for checks that
    read one file at a time, not for loaders.
    """
    messages: list[str] = []
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sys.stderr.flush()
        kept = os.dup(_STDERR)
        os.dup2(file.fileno(), _STDERR)
        try:
            yield messages
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            file.seek(0)
            found = file.read().decode("utf-8", "replace").splitlines()
            found += [str(warning.message) for warning in caught]
            messages += dict.fromkeys(text.strip() for text in found if text.strip())
