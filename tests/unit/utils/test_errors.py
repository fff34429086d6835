"""Messages to users."""

import re

from segfoundry.utils.errors import LONGEST_LINE, ConfigError


def test_a_line_without_end_is_cut_in_the_middle():
    text = str(ConfigError(f"short\nSEED = {'9' * 50_000!r}: expected an integer"))
    first, second = text.split("\n")
    assert first == "short" and len(second) < LONGEST_LINE + 50
    assert second.startswith("SEED = '999") and second.endswith("99': expected an integer")
    assert re.search(r"999 \[\.\.\. 4\d{4} characters \.\.\.\] 999", second)
    assert str(ConfigError("x" * LONGEST_LINE)) == "x" * LONGEST_LINE
