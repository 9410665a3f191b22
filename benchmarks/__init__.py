"""
One file for each claim of speed. C{python -m benchmarks} measures wsrelay side by side with
other proxies and lists its claims; C{python -m benchmarks.heads} compares parsers.
"""
