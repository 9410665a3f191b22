"""Tests of C{wsrelay.filters}."""
