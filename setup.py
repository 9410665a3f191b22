"""The native engine; everything else stands in setup.cfg."""

from __future__ import annotations

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "wsrelay.plane._native",
            ["wsrelay/plane/_native.c"],
            depends=["wsrelay/plane/_frames.h"],
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
            # Without it the portable engine serves.
            optional=True,
        )
    ]
    if sys.platform == "linux" and sys.implementation.name == "cpython"
    else []
)
