"""The command `beluga`. What is heavy loads when a command runs: `beluga --help` must be quick."""
