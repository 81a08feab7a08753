"""Pure values that travel between the rooms: no I/O, and nothing else of ours is imported."""
