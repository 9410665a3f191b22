# -*- test-case-name: tests.backends -*-
"""
Where traffic goes: C{backend} is one destination and how to reach it, C{pool} a named group
of them that is dialled until one accepts, C{balancers} the built-in ways to pick, C{idle} what
waits for its next request.
"""
