"""HTTP: the gateway that serves the engine to programs and browsers, and the client that speaks to it."""
