"""Tests for TLS."""
