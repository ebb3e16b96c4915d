"""What is going on: features, drift detectors, guardrails, the evaluation gate and metrics."""
