# -*- test-case-name: tests.demo.test_page -*-
"""
The page as a plugin, and what it may load.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from twisted.web.test.requesthelper import DummyRequest
from zope.interface.verify import verifyObject

from wsrelay.demo.page import Page, PageMaker, PageOptions, page
from wsrelay.interfaces import IObserver, IPluginMaker

OPTIONS = PageOptions(l4Port=8081, l7Port=8080)


def render(site: Any, *path: bytes) -> Any:
    """Ask for a path, and return the request with what was answered."""
    request = DummyRequest(list(path))
    resource = site
    while request.postpath and not resource.isLeaf:
        resource = resource.getChildWithDefault(request.postpath.pop(0), request)
    request.write(resource.render(request))
    return request


class PageTests(SynchronousTestCase):
    """The page and its parts."""

    def setUp(self) -> None:
        self.page = Page(OPTIONS, MemoryReactorClock())

    def test_interfaces(self) -> None:
        """A route can serve it, and it hears what happens."""
        for interface in (IResource, IObserver):
            verifyObject(interface, self.page)

    def test_parts(self) -> None:
        """Each part says what it is, and may load nothing from elsewhere."""
        for path, kind in (
            (b"", "text/html; charset=utf-8"),
            (b"page.css", "text/css; charset=utf-8"),
            (b"page.js", "text/javascript; charset=utf-8"),
        ):
            fields = render(self.page, path).responseHeaders
            self.assertEqual(fields.getRawHeaders("content-type"), [kind])
            self.assertEqual(fields.getRawHeaders("x-content-type-options"), ["nosniff"])
            (policy,) = fields.getRawHeaders("content-security-policy")
            self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy)
            self.assertIn("ws://127.0.0.1:8080 ws://127.0.0.1:8081", policy)
            self.assertNotIn("unsafe", policy)

    def test_selfContained(self) -> None:
        """The page names no other host, and nothing in it is inline that the policy forbids."""
        html = b"".join(render(self.page, b"").written).decode()
        style = b"".join(render(self.page, b"page.css").written).decode()
        self.assertEqual(
            re.findall(r"(?:src|href)=\"(.*?)\"", html), ["data:,", "page.css", "page.js"]
        )
        self.assertNotRegex(html, r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src)")
        self.assertNotRegex(style, r"url\(|@import")

    def test_noMarkupFromOutside(self) -> None:
        """What others wrote is put into the page as text only."""
        script = b"".join(render(self.page, b"page.js").written).decode()
        self.assertNotRegex(script, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval")

    def test_nothingElse(self) -> None:
        """There is nothing else."""
        self.assertEqual(render(self.page, b"stage.py").responseCode, 404)


class PageMakerTests(SynchronousTestCase):
    """How the configuration makes it."""

    def test_make(self) -> None:
        """It makes the page, and once the relay runs tells the person where to look."""
        verifyObject(IPluginMaker, page)
        reactor = MemoryReactorClock()
        relay: Any = SimpleNamespace(reactor=reactor)
        self.assertIsInstance(PageMaker().make(OPTIONS, relay), Page)
        ((call, arguments, named),) = reactor.whenRunningHooks
        self.assertEqual(arguments, (8080,))
        with capturedLogs() as logged:
            call(*arguments, **named)
        (told,) = (formatEvent(each) for each in logged)
        self.assertIn("http://127.0.0.1:8080/", told)
