"""
Is what comes out of a relay what went in?

L{tests.conformance.probe} asks it in fifteen points, of our relay or of any other;
L{tests.conformance.autobahn_suite} lets the Autobahn TestSuite ask it. Both are commands as
well as tests; what they found stands in C{docs/reference/conformance.md}.
"""
