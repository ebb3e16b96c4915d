"""Recorded traffic through the same core under any policy: the alarms, buffers and verdicts it would have given."""
