# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Does anything leak, hang or break under mixed traffic? C{python -m benchmarks.soak}

A relay in a process of its own, with tunnels, sessions, TLS and filters (L{setting}), stands
between clients that check every byte, break off, stall and cheat (L{tunnels}, L{sessions},
L{exchanges}) and backends that do the same (L{backends}). Each client's talk from connecting
to its end is a I{conversation}: a function that knows what must come of it. Its random
numbers come from the seed and its own number alone, so that each can be repeated.

Now and then all of them end, and the relay must be as it was at the start: that is a
I{checkpoint} (L{watch}). L{drive} does it all and has the verdict.
"""
