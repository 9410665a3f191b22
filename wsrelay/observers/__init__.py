# -*- test-case-name: tests.observers -*-
"""
What only hears. C{accesslog} writes one line about everything that ended.
"""
