"""What the application needs of the outside world, as protocols. Adapters implement them by the same file name."""
