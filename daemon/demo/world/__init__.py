"""The demo's world: who asks what, and which reply is right. Data and pure code; it imports nothing of the daemon."""
