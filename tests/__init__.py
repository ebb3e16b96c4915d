"""Tests, in the shape of the packages they test; tests/e2e drives the whole."""
