"""Keeping freed memory: fewer page faults for the same work."""

import subprocess
import sys

import pytest

from segfoundry.utils.allocator import keep_freed_memory

WORK = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from segfoundry.utils.allocator import keep_freed_memory
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    arrays = [np.ones(1_000_000, np.uint8) for _ in range(8)]
work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library has no mallopt")
def test_image_sized_arrays_cause_few_page_faults():
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", WORK, mode], check=True, capture_output=True, text=True).stdout)
        for mode in ("plain", "keep")
    }
    assert faults["keep"] < faults["plain"] / 4
