# -*- test-case-name: tests.tls -*-
"""
TLS: towards backends (L{wsrelay.tls.backends}) and at listeners.
"""
