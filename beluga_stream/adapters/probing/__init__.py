"""What a process says of itself over HTTP, for whoever restarts it and whoever measures it."""
