"""What a user writes with: graphs, chains, triggers. It compiles to programs, which the shells run."""
