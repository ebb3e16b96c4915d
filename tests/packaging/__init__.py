"""The repository as an artifact: what is installed, shipped, locked and imported where."""
