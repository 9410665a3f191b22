# -*- test-case-name: tests.plane.test_portable -*-
from tests.plane.bytesuite import ByteSuite, StreamHookSuite
from tests.plane.worlds import InMemory, OnSockets, UnderTLS
from wsrelay.plane.portable import PortablePlane

class Make:
    def makePlane(self): return PortablePlane(self.clock)
class A(Make, InMemory, ByteSuite): pass
class B(Make, OnSockets, ByteSuite): pass
class C(Make, UnderTLS, ByteSuite): pass
class A2(Make, InMemory, StreamHookSuite): pass
class B2(Make, OnSockets, StreamHookSuite): pass
class C2(Make, UnderTLS, StreamHookSuite): pass
