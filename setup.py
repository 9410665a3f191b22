"""The extensions, both optional; everything else stands in setup.cfg."""

from __future__ import annotations

import sys
from glob import glob

from setuptools import Extension, setup

# Hidden: the files call each other directly, and nothing but the module is seen.
FLAGS = ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]

# Without it the portable engine serves.
ENGINE = Extension(
    "wsrelay.plane._native",
    sorted(glob("wsrelay/plane/_*.c")),
    depends=sorted(glob("wsrelay/plane/_*.h")),
    extra_compile_args=FLAGS,
    optional=True,
)

# Without it wsrelay/wire/heads.py reads every head itself.
HEADS = Extension(
    "wsrelay.wire._heads", ["wsrelay/wire/_heads.c"], extra_compile_args=FLAGS, optional=True
)

extensions = []
if sys.implementation.name == "cpython":
    extensions.append(HEADS)
    if sys.platform == "linux":
        extensions.append(ENGINE)

setup(ext_modules=extensions)
