"""How the C library treats memory that was freed."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of glibc; the threshold for separate mappings may not exceed 32 MiB.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 256 * 2**20, 32 * 2**20


def keep_freed_memory() -> bool:
    """Asks glibc to keep up to 256 MiB of freed memory for this process instead of giving it back to the system.

    Code that allocates image-sized arrays over and over otherwise spends a fifth of its time on page faults (measured:
    label maps of 640 x 480). The setting lasts for the process; it changes no result.

    Returns:
        Whether the C library took it; False on other systems than Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no such function
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
