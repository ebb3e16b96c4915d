"""The parts of tests.bench.decisions, one kind of measurement a file."""
