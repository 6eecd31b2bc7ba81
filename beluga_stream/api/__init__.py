"""What a user writes with: graphs, chains, triggers. It compiles to `ports.handlers.Program`, which the shells run."""
