"""The gateway: ASGI middleware that routes an alias to a version, captures traffic and takes feedback.

It runs inside the process that serves the model, so it imports the standard library, msgspec, pydantic,
prometheus_client and ``streams`` only, and any failure of its own passes the client's request on unchanged.
"""
