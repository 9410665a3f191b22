"""Tests of layer 7: HTTP, the upgrade, sessions, resources."""
