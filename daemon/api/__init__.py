"""The HTTP API on loopback: what the command line, the trainer, Prometheus and consoles speak to."""
