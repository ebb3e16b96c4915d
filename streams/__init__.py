"""Events in and out: event types, codec, logs, joiner and dead letters."""
