"""Streaming drift detectors. Each has ``update``, and a JSON-able state that restores bit for bit."""
