"""The process: configuration, wiring, controller tick, store, HTTP API, command line and demo."""
