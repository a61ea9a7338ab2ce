"""The timeline: switches, checkpoints, warnings and bookmarks of a run."""
