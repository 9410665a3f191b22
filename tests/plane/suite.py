"""
All that an engine must do: one suite that each of them passes in each world it works in.
"""

from __future__ import annotations

from tests.plane.bytesuite import ByteSuite, StreamHookSuite
from tests.plane.deflatesuite import DeflateSuite
from tests.plane.framesuite import FrameSuite
from tests.plane.messagesuite import MessageSuite

__all__ = ["EngineTests"]


class EngineTests(ByteSuite, StreamHookSuite, FrameSuite, MessageSuite, DeflateSuite):
    """
    Mix this with a world of L{tests.plane.worlds} and a C{TestCase}, the world first, and
    give it C{makePlane}::

        class NativeOnSocketsTests(OnSockets, EngineTests, TestCase):
            def makePlane(self):
                return NativePlane(self.clock)
    """
