"""A small OpenAI-compatible server with run-time LoRA: vLLM's wire format and routes on transformers.

For one machine, a model that fits its memory, and tens of requests at once; no paging, no tensor parallelism. Start it
with ``python -m deploy.servers.builtin --model DIR --served-model-name ALIAS BASE --port N [--gateway gateway.json]``.
"""
