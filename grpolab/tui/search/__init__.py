"""Search through all recorded answers."""
