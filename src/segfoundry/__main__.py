"""``python -m segfoundry`` and the console command ``segfoundry``."""

import sys

from segfoundry.trainer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
