from tests.l7 import test_session, test_upgrade
from tests.l7.harness import reactor
from wsrelay.plane.native import NativePlane
class Mixin:
    def makePlane(self):
        plane = NativePlane(reactor)
        self.addCleanup(reactor.removeReader, plane)
        self.planes = getattr(self, "planes", []) + [plane]
        return plane
    async def tearDown(self):
        await super().tearDown()
        for p in self.planes: reactor.removeReader(p)
for module in (test_session, test_upgrade):
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and name.endswith("Tests"):
            globals()["Native"+name] = type("Native"+name, (Mixin, value), {"__module__": __name__})
