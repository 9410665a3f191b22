# -*- test-case-name: tests.observers -*-
"""
What only hears. C{accesslog} writes one line about everything that ended; C{jsonlog} writes
what is logged, whoever logs it, as JSON.
"""
