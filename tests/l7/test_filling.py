# -*- test-case-name: tests.l7.test_filling -*-
"""
One fetch for many: who waits, and what they get when it does not go well.
"""

from __future__ import annotations

from twisted.python.failure import Failure

from tests.l7.scripted import FRESH, Asking, CacheTestCase
from wsrelay.errors import BackendFault, NoBackend
from wsrelay.l7.cache import CacheSettings
from wsrelay.model import Headers, Response

MANY = 50
TAG = 'ETag: "1"'
SWR = "Cache-Control: max-age=60, stale-while-revalidate=30"
SIE = "Cache-Control: max-age=60, stale-if-error=300"


class WaitingTests(CacheTestCase):
    """Many ask for the same at once."""

    settings = CacheSettings(size=200_000, maxEntry=1000)

    def crowd(self) -> list[Asking]:
        """A leader and those who wait."""
        asking = [self.ask() for _ in range(MANY + 1)]
        self.assertEqual(len(self.sent), 1)
        self.assertEqual(self.cache.counts.collapsed, MANY)
        return asking

    def assertAll(self, asking: list[Asking]) -> None:
        """All have the whole answer."""
        self.assertEqual({each.outcome for each in asking}, {(200, b"hello", True)})

    def test_together(self) -> None:
        """One fetch answers all of them, while it arrives."""
        asking = self.crowd()
        self.last.head(FRESH, length=5)
        self.last.body(b"hel")
        self.assertEqual({each.body for each in asking}, {b"hel"})
        late = self.ask()
        self.assertEqual(late.body, b"hel")
        self.last.body(b"lo")
        self.last.end()
        self.assertAll([*asking, late])
        said = [each.said for each in asking]
        self.assertEqual(said[0], "wsrelay; fwd=uri-miss; stored")
        self.assertEqual(set(said[1:]), {"wsrelay; fwd=uri-miss; collapsed"})
        self.assertEqual(len(self.sent), 1)
        self.assertHit(self.ask())

    def test_unknownLength(self) -> None:
        """Where the end is not known, the others wait for it."""
        asking = self.crowd()
        self.last.head(FRESH)
        self.last.body(b"hel")
        self.assertEqual(asking[0].body, b"hel")
        self.assertEqual({each.status for each in asking[1:]}, {None})
        self.last.body(b"lo")
        self.last.end()
        self.assertAll(asking)

    def test_slowClient(self) -> None:
        """One that does not read holds up nobody else, not even as the leader."""
        leader, *others = [self.ask(pausesAfter=1), *(self.ask() for _ in range(3))]
        self.last.head(FRESH, length=5)
        self.last.body(b"he", b"ll", b"o")
        self.last.end()
        self.assertAll(others)
        self.assertEqual(leader.body, b"he")
        leader.errand.producer.resumeProducing()
        self.assertAll([leader])

    def test_filtersThink(self) -> None:
        """One whose filters take their time holds up nobody else, either."""
        leader, other = self.ask(), self.ask()
        leader.isThinking = True
        self.last.answer(FRESH)
        self.assertAll([other])
        self.assertEqual(leader.outcome, (200, b"", False))
        leader.errand.readBody()
        self.assertAll([leader])

    def test_notKept(self) -> None:
        """If it turns out not to be for all, each goes on its own, all at once."""
        for head in [("Cache-Control: private",), (FRESH, "Set-Cookie: a=b"), ()]:
            self.start(self.settings)
            leader, *others = self.crowd()
            self.sent[0].answer(*head)
            self.assertAll([leader])
            self.assertEqual(len(self.sent), MANY + 1)
            self.assertTrue(all(each.status is None for each in others))
            for sent in self.sent[1:]:
                sent.answer(*head)
            self.assertAll(others)
            # Next time nobody waits for that.
            self.ask()
            self.ask()
            self.assertEqual(len(self.sent), MANY + 3)

    def test_keptAgain(self) -> None:
        """What was not kept once is fetched together again when it was kept."""
        self.keep("Cache-Control: no-store")
        self.keep("Cache-Control: max-age=1")
        self.clock.advance(1)
        count = len(self.sent)
        self.ask()
        self.ask()
        self.assertEqual(len(self.sent), count + 1)

    def test_otherVariant(self) -> None:
        """Those who differ in what the answer depends on go on their own."""
        one, two = self.ask("Accept: a"), self.ask("Accept: b")
        three = self.ask("Accept: a")
        self.sent[0].head(FRESH, "Vary: Accept", length=5)
        self.assertEqual(len(self.sent), 2)
        four = self.ask("Accept: b")
        self.assertEqual(len(self.sent), 3)
        for sent in self.sent[1:]:
            sent.answer(FRESH, "Vary: Accept", body=b"other")
        self.sent[0].body(b"hello")
        self.sent[0].end()
        self.assertAll([one, three])
        self.assertEqual({two.body, four.body}, {b"other"})

    def test_leaderLeaves(self) -> None:
        """When the leader leaves, before or after the head, the others get their answer."""
        for length in (5, None):
            for isLate in (False, True):
                self.start(self.settings)
                leader, *others = self.crowd()
                if not isLate:
                    leader.errand.cancel()
                self.sent[0].head(FRESH, length=length)
                self.sent[0].body(b"hel")
                if isLate:
                    leader.errand.cancel()
                self.ask()
                self.assertEqual(len(self.sent), 2, "nobody joins a fetch without a leader")
                self.sent[0].body(b"lo")
                self.sent[0].end()
                self.assertAll(others)
                self.assertFalse(leader.isOver)

    def test_leaderLeavesForNothing(self) -> None:
        """The same when it turns out not to be for all."""
        leader, *others = self.crowd()
        leader.errand.cancel()
        self.sent[0].head("Cache-Control: private")
        self.assertTrue(self.sent[0].isCancelled)
        self.assertEqual(len(self.sent), MANY + 1)
        for sent in self.sent[1:]:
            sent.answer()
        self.assertAll(others)

    def test_slowBackend(self) -> None:
        """Nobody waits for ever for what another has begun, though that goes on."""
        for isLate in (False, True):
            self.start(self.settings)
            leader, *others = self.crowd()
            if isLate:
                self.sent[0].head(FRESH)
                self.sent[0].body(b"hel")
            self.clock.advance(60)
            self.assertEqual(len(self.sent), MANY + 1)
            if not isLate:
                self.sent[0].head(FRESH)
                self.sent[0].body(b"hel")
            self.sent[0].body(b"lo")
            self.sent[0].end()
            for sent in self.sent[1:]:
                sent.answer()
            self.assertAll([leader, *others])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_leaderless(self) -> None:
        """A fetch without a leader that hangs is given up, and those who wait ask again."""
        leader, *others = self.crowd()
        leader.errand.cancel()
        self.clock.advance(60)
        self.assertTrue(self.sent[0].isCancelled)
        self.assertEqual(len(self.sent), MANY + 1)
        for sent in self.sent[1:]:
            sent.answer()
        self.assertAll(others)

    def test_leaderlessStale(self) -> None:
        """Or get what is stale, where that is allowed in place of an error."""
        self.keep(SIE, TAG)
        self.clock.advance(61)
        leader, other = self.ask(), self.ask()
        leader.errand.cancel()
        self.clock.advance(60)
        self.assertTrue(self.last.isCancelled)
        self.assertAll([other])

    def test_nobodyLike(self) -> None:
        """Nor is what turns out to be of use to none of those who are left."""
        leader, other = self.ask("Accept: a"), self.ask("Accept: b")
        leader.errand.cancel()
        self.last.head(FRESH, "Vary: Accept", length=5)
        self.assertTrue(self.sent[0].isCancelled)
        self.sent[1].answer(FRESH, "Vary: Accept")
        self.assertAll([other])

    def test_nobody(self) -> None:
        """What nobody wants any more is not fetched."""
        for length in (None, 5):
            self.start(self.settings)
            asking = self.crowd()
            self.sent[0].head(FRESH, length=length)
            for each in asking:
                self.assertFalse(self.sent[0].isCancelled)
                each.errand.cancel()
            self.assertTrue(self.sent[0].isCancelled)
            self.assertEqual((self.cache.used, self.cache._resources), (0, {}))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """The failure is the leader's; each of the others tries on its own."""
        leader, *others = self.crowd()
        self.sent[0].fail()
        self.assertIsInstance(leader.error, BackendFault)
        self.assertEqual(len(self.sent), MANY + 1)
        for sent in self.sent[1:]:
            sent.answer(FRESH)
        self.assertAll(others)

    def test_unreachable(self) -> None:
        """The same when no backend accepts."""
        leader, *others = self.crowd()
        self.sent[0].hearer.unreachable(Failure(NoBackend("none is up")))
        self.assertIsInstance(leader.error, NoBackend)
        for sent in self.sent[1:]:
            sent.hearer.unreachable(Failure(NoBackend("none is up")))
        self.assertTrue(all(isinstance(each.error, NoBackend) for each in others))
        self.assertEqual(self.cache._resources, {})

    def test_failsHalfWay(self) -> None:
        """Who has got a part is cut; who has got nothing tries again; nothing is kept."""
        for length in (5, None):
            self.start(self.settings)
            leader, *others = self.crowd()
            self.sent[0].head(FRESH, length=length)
            self.sent[0].body(b"hel")
            self.sent[0].fail()
            self.assertIsInstance(leader.error, BackendFault)
            if length:
                self.assertTrue(all(each.error for each in others))
            else:
                for sent in self.sent[1:]:
                    sent.answer()
                self.assertAll(others)
            self.assertEqual((len(self.cache), self.cache.used), (0, 0))

    def test_raises(self) -> None:
        """A client that fails in an unexpected way takes nobody with it."""
        asking = self.crowd()

        def fail(*args: object) -> None:
            raise RuntimeError("broken on purpose")

        asking[0].responded = fail  # type: ignore[method-assign]  # this one fails
        asking[7].content = fail  # type: ignore[method-assign]  # and that one
        self.last.answer(FRESH)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertAll([each for each in asking if each not in (asking[0], asking[7])])

    def test_interim(self) -> None:
        """Interim responses, and the connection, are the leader's."""
        leader, other = self.ask(), self.ask()
        hearer = self.last.hearer
        hearer.dialled(None, None)
        hearer.sent()
        hearer.interim(Response(103, "", Headers()))
        self.assertEqual((leader.interims, leader.dials), ([103], 1))
        self.assertEqual((other.interims, other.dials), ([], 0))
        leader.errand.cancel()
        hearer.interim(Response(103, "", Headers()))
        hearer.dialled(None, None)

    def test_reload(self) -> None:
        """Who wants it confirmed does not take what was answered before it asked."""
        self.ask()
        joined = self.ask("Cache-Control: no-cache")
        self.last.head(FRESH, length=5)
        self.ask("Cache-Control: no-cache")
        self.assertEqual(len(self.sent), 2)
        self.sent[0].body(b"hello")
        self.sent[0].end()
        self.assertAll([joined])


class SizeTests(CacheTestCase):
    """What is too large is relayed and not kept."""

    settings = CacheSettings(size=10_000, maxEntry=1000)

    def test_known(self) -> None:
        """A length over the limit is known at once."""
        leader, other = self.ask(), self.ask()
        self.sent[0].head(FRESH, length=1001)
        self.assertEqual(len(self.sent), 2)
        self.sent[0].body(b"x" * 1001)
        self.sent[0].end()
        self.assertEqual(leader.outcome, (200, b"x" * 1001, True))
        self.assertEqual((len(self.cache), self.cache.used), (0, 0))
        other.errand.cancel()

    def test_unknown(self) -> None:
        """One that turns out too large goes on to the leader; the others ask themselves."""
        leader, other = self.ask(), self.ask()
        self.sent[0].head(FRESH)
        self.sent[0].body(b"x" * 600, b"y" * 600)
        self.assertEqual(len(self.sent), 2)
        self.assertEqual(self.cache.used, 0)
        self.sent[0].body(b"z" * 600)
        self.sent[0].end()
        body = b"x" * 600 + b"y" * 600 + b"z" * 600
        self.assertEqual(leader.outcome, (200, body, True))
        self.sent[1].answer()
        self.assertTrue(other.isComplete)

    def test_backpressure(self) -> None:
        """Then a leader that does not read stops the backend, and what it has read is gone."""
        leader = self.ask(pausesAfter=1)
        sent = self.last
        sent.head(FRESH)
        sent.body(b"a" * 600)
        self.assertFalse(sent.isPaused, "so far it may be kept")
        sent.body(b"b" * 600)
        self.assertTrue(sent.isPaused)
        leader.errand.producer.resumeProducing()
        self.assertFalse(sent.isPaused)
        leader.errand.producer.pauseProducing()
        self.assertTrue(sent.isPaused)
        sent.body(b"c")
        leader.errand.producer.resumeProducing()
        sent.body(b"d")
        self.assertEqual(leader.errand._pieces, [])
        sent.end()
        self.assertEqual(leader.outcome, (200, b"a" * 600 + b"b" * 600 + b"cd", True))

    def test_tooLargeAlone(self) -> None:
        """What nobody waits for is not fetched to the end."""
        leader, other = self.ask(), self.ask()
        self.sent[0].head(FRESH)
        leader.errand.cancel()
        self.sent[0].body(b"x" * 1001)
        self.assertTrue(self.sent[0].isCancelled)
        self.sent[1].answer()
        self.assertTrue(other.isComplete)

    def test_notKept(self) -> None:
        """What is not kept is paused by the client itself."""
        leader = self.ask()
        self.last.head("Cache-Control: no-store")
        self.assertIs(leader.errand.producer, self.last)
        self.last.body(b"hello")
        leader.errand.cancel()
        self.assertTrue(self.last.isCancelled)

    def test_manyAtOnce(self) -> None:
        """What is on its way is within the size, too."""
        asking = [self.ask(target=f"/{number}") for number in range(10)]
        for sent in self.sent:
            sent.head(FRESH, length=1000)
        self.assertLessEqual(self.cache.used, 10_000)
        for sent in self.sent:
            sent.body(b"x" * 1000)
            sent.end()
        self.assertTrue(all(each.isComplete for each in asking))
        self.assertLess(0, len(self.cache))


class ValidationTests(CacheTestCase):
    """What is stale is confirmed."""

    def test_confirmed(self) -> None:
        """A 304 makes it fresh again, for all who wait, with what it says anew."""
        self.keep(FRESH, TAG, "X: old", "Content-Type: a")
        self.clock.advance(61)
        asking = [self.ask() for _ in range(3)]
        self.assertEqual(self.last.fields.get("if-none-match"), '"1"')
        self.last.head("Cache-Control: max-age=500", TAG, "X: new", "Age: 3", status=304)
        self.last.end()
        for each in asking:
            self.assertEqual(each.outcome, (200, b"hello", True))
            self.assertEqual(each.fields.getAll("x"), ["new"])
            self.assertEqual(each.fields.getAll("content-length"), ["5"])
        said = "wsrelay; fwd=stale; fwd-status=304"
        self.assertEqual([each.said for each in asking], [said] + [said + "; collapsed"] * 2)
        self.assertHit(self.ask())
        self.assertEqual((len(self.sent), self.cache.counts.validated), (2, 3))

    def test_replaced(self) -> None:
        """Another answer takes its place."""
        self.keep(FRESH, TAG)
        self.clock.advance(61)
        asking = self.ask()
        self.last.answer("Cache-Control: max-age=500", body=b"new")
        self.assertEqual(asking.said, "wsrelay; fwd=stale; stored")
        self.assertHit(self.ask(), b"new")
        self.assertEqual(len(self.cache), 1)

    def test_forbidden(self) -> None:
        """One that must not be kept ends what was kept."""
        for head, status in [("Cache-Control: private", 200), ("X: 1", 404)]:
            self.start()
            self.keep(FRESH, TAG)
            self.clock.advance(61)
            self.ask()
            self.last.answer(head, status=status)
            self.assertEqual(len(self.cache), 0)

    def test_forbiddenByConfirmation(self) -> None:
        """So does a 304 that says so; it is good for who has asked."""
        for line in ("Cache-Control: private", "Vary: *", "Vary: Accept"):
            self.start()
            self.keep(FRESH, TAG)
            self.clock.advance(61)
            leader, other = self.ask(), self.ask()
            self.last.head(line, status=304)
            self.assertEqual(leader.outcome, (200, b"hello", True), line)
            self.assertMiss(other)
            self.assertNotIn("if-none-match", self.last.fields)
            self.assertEqual(len(self.cache), 0)

    def test_wrongConfirmation(self) -> None:
        """A 304 about something else is no answer: it is asked again, for the whole."""
        self.keep(FRESH, TAG)
        self.clock.advance(61)
        asking = self.ask()
        self.last.head('ETag: "2"', status=304)
        self.assertNotIn("if-none-match", self.assertMiss(asking).fields)
        self.last.answer(FRESH, body=b"new")
        self.assertEqual(asking.outcome, (200, b"new", True))

    def test_error(self) -> None:
        """An error is passed on unless something stale may stand in (RFC 5861 section 4)."""
        for head, status, age, expected in [
            (SIE, 503, 61, 200),
            (SIE, 500, 61, 200),
            (SIE, 404, 61, 404),
            (SIE, 501, 61, 501),
            (SIE, 503, 361, 503),
            (FRESH, 503, 61, 503),
            (SIE + ", must-revalidate", 503, 61, 503),
        ]:
            self.start()
            self.keep(head, TAG)
            self.clock.advance(age)
            leader, other = self.ask(), self.ask()
            first = self.last
            first.answer(status=status)
            self.assertEqual(leader.status, expected, (head, status, age))
            if expected == 200:
                self.assertTrue(first.isCancelled)
                self.assertEqual(leader.said, f"wsrelay; fwd=stale; fwd-status={status}")
                self.assertEqual(other.outcome, (200, b"hello", True))
            else:
                self.assertMiss(other)

    def test_failure(self) -> None:
        """So for a backend that fails, or cannot be reached."""
        for head, isServed in [(SIE, True), (FRESH, False)]:
            for way in ("failed", "unreachable"):
                self.start()
                self.keep(head, TAG)
                self.clock.advance(61)
                asking = self.ask()
                error = BackendFault("down")
                getattr(self.last.hearer, way)(Failure(error) if way == "unreachable" else error)
                if isServed:
                    self.assertEqual(asking.outcome, (200, b"hello", True))
                    self.assertEqual(asking.said, "wsrelay; fwd=stale; detail=failed")
                else:
                    self.assertIs(asking.error, error)


class RefreshTests(CacheTestCase):
    """Stale while revalidate (RFC 5861 section 3)."""

    def setUp(self) -> None:
        super().setUp()
        self.keep(SWR, TAG)
        self.clock.advance(61)

    def test_refresh(self) -> None:
        """The stale answer is served at once, and one fetch confirms it behind the scenes."""
        for _ in range(3):
            hit = self.ask()
            self.assertHit(hit)
            self.assertEqual(hit.said, "wsrelay; hit; ttl=-1")
        self.assertEqual(len(self.sent), 2)
        self.assertEqual(self.last.fields.get("if-none-match"), '"1"')
        self.last.answer(SWR, "Age: 0", status=304)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # The script's Date stands still: it is as old as before.
        self.assertEqual(self.ask().said, "wsrelay; hit; ttl=-1")

    def test_replaced(self) -> None:
        """Or another answer comes, whatever its size."""
        self.ask()
        self.last.head("Cache-Control: max-age=500")
        self.last.body(b"ne", b"w")
        self.last.end()
        self.assertHit(self.ask(), b"new")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """If it fails, the next one tries again, until the window is over."""
        for _ in range(3):
            count = len(self.sent)
            self.assertHit(self.ask())
            self.assertEqual(len(self.sent), count + 1)
            self.last.fail()
        self.clock.advance(30)
        self.assertMiss(self.ask())

    def test_notKept(self) -> None:
        """What must not be kept is not read, and ends what was kept."""
        self.ask()
        self.last.head("Cache-Control: private")
        self.assertTrue(self.last.isCancelled)
        self.assertEqual(len(self.cache), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """One that hangs is given up."""
        self.ask()
        self.clock.advance(60)
        self.assertTrue(self.last.isCancelled)
        self.assertEqual(self.cache._resources[next(iter(self.cache._resources))].fillings, {})

    def test_head(self) -> None:
        """HEAD cannot fetch a body, so it does not try."""
        self.assertEqual(self.ask(method="HEAD").outcome, (200, b"", True))
        self.assertEqual(len(self.sent), 1)

    def test_cannot(self) -> None:
        """A fetch that cannot even begin does not harm who is served."""

        def make(*args: object) -> None:
            raise RuntimeError("broken on purpose")

        self.make = make  # type: ignore[method-assign,assignment]  # it fails
        self.assertHit(self.ask())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_joined(self) -> None:
        """Who needs it confirmed waits for the fetch that is on its way."""
        self.ask()
        asking = self.ask("Cache-Control: no-cache")
        self.assertMiss(asking)
        self.assertEqual(len(self.sent), 2)
        self.last.answer(status=304)
        self.assertEqual(asking.outcome, (200, b"hello", True))

    def test_conditional(self) -> None:
        """A fetch whose only client has the answer already goes on for the others."""
        self.clock.advance(100)
        asking = self.ask('If-None-Match: "2"')
        self.last.head("Cache-Control: max-age=500", 'ETag: "2"', length=3)
        self.assertEqual(asking.outcome, (304, b"", True))
        self.last.body(b"new")
        self.last.end()
        self.assertHit(self.ask(), b"new")
        self.assertEqual(self.clock.getDelayedCalls(), [])
