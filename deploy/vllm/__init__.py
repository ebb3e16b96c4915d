"""How vLLM is launched for homeostat: the command, its environment and the CPU overrides."""
