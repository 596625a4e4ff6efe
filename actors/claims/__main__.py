"""The process of one trial: ``python -m actors.claims JOB ANSWER``."""

import sys

from actors.claims.process import main

if __name__ == "__main__":
    main(*sys.argv[1:])
