"""
Tests of the data plane.

What every engine must do stands in three suites, C{bytesuite}, C{framesuite} and
C{messagesuite}; L{tests.plane.suite.EngineTests} is all of them. They are played for each
engine in each of the C{worlds} that it can work in: in memory, on TCP, under TLS.
"""
