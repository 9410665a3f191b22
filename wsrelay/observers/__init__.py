# -*- test-case-name: tests.observers -*-
"""
What only hears. C{accesslog} logs everything that ended; C{lines} writes what is logged,
whoever logs it, for people or as JSON.
"""
