"""The one table of golden outputs whose code is not built yet: pattern of ``case/output`` -> reason.

Each is a strict expected failure: an entry whose output is computed makes the test fail until it is removed here.
"""

PENDING: dict[str, str] = {}
