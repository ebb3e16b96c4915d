"""What the drift bench is made of; no program itself."""
