"""Selection's stages: each looks at a list of claims and says of every one whether it stays, and if not, why."""
