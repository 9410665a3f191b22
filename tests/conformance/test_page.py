# -*- test-case-name: tests.conformance.test_page -*-
"""
Tests of L{tests.conformance.page}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.page import PAGE, replaceBlock, table


class PageTests(SynchronousTestCase):
    """Tables that a command writes into a page."""

    def test_table(self) -> None:
        """A cell may contain the sign that ends cells."""
        lines = table(["a", "b"], [["1", "x|y"]])
        self.assertEqual(lines, ["| a | b |", "| --- | --- |", "| 1 | x\\|y |"])

    def test_replaceBlock(self) -> None:
        """Only what stands in the block changes, and doing it twice changes nothing more."""
        page = "before\n<!-- t: begin -->\nold\n<!-- t: end -->\nafter\n"
        once = replaceBlock(page, "t", ["new"])
        self.assertEqual(once, "before\n<!-- t: begin -->\n\nnew\n\n<!-- t: end -->\nafter\n")
        self.assertEqual(replaceBlock(once, "t", ["new"]), once)

    def test_noBlock(self) -> None:
        """A page without the block is not written to."""
        self.assertRaises(ValueError, replaceBlock, "<!-- t: begin -->", "t", [])
        self.assertRaises(ValueError, replaceBlock, "text", "t", [])

    def test_blocksOfThePage(self) -> None:
        """The page of this project has the blocks that the commands write."""
        for name in ("probe", "autobahn", "autobahn-cases"):
            replaceBlock(PAGE.read_text(), name, [])
