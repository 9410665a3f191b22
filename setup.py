"""The native engine; everything else stands in setup.cfg."""

from __future__ import annotations

import sys
from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "wsrelay.plane._native",
            sorted(glob("wsrelay/plane/_*.c")),
            depends=sorted(glob("wsrelay/plane/_*.h")),
            # Hidden: the files call each other directly, and nothing but the module is seen.
            extra_compile_args=["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
            # Without it the portable engine serves.
            optional=True,
        )
    ]
    if sys.platform == "linux" and sys.implementation.name == "cpython"
    else []
)
