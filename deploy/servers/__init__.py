"""Servers of our own, for where vLLM is not installed."""
