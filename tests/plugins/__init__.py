"""Tests of C{wsrelay.plugins}."""
