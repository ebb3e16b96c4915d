"""From examples to a version: selection, objectives, training, manifest and registry."""
