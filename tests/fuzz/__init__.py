"""
The extension on input that a fuzzer invents; see README.md.
"""
