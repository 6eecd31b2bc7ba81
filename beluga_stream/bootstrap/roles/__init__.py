"""What each role is made of, a module for each: a process loads those of its own roles, and starts the sooner."""
