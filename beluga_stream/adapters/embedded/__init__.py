"""Child processes: the broker that comes as a wheel, and how any child is stopped."""
