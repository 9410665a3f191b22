"""
Tests of the data plane.

What every engine must do stands in the suites, C{bytesuite}, C{streamsuite}, C{framesuite},
C{messagesuite} and C{deflatesuite}; L{tests.plane.suite.engineTests} plays them all, for one
engine, in each of the C{worlds} that it can work in: in memory, on TCP, under TLS.
"""
