# -*- test-case-name: tests.test_benchmarks -*-
"""
C{python -m benchmarks}.
"""

from __future__ import annotations

import sys

from benchmarks.commandline import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
