"""Command line of Segfoundry: ``python entry.py VERB --conf_files A.yaml [B.yaml ...] --overrides KEY VALUE ...``."""

import os
import sys

# A spawned worker executes these lines again before it unpickles anything: keep them at module level.
_ROOT = os.path.dirname(os.path.realpath(__file__))
# Our folder datasets/ must not hide the package of that name from other libraries.
sys.path[:] = [p for p in sys.path if os.path.realpath(p or os.curdir) != _ROOT]
sys.path.insert(0, os.path.join(_ROOT, "src"))

if __name__ == "__main__":
    from segfoundry.trainer.cli.main import main

    sys.exit(main())
