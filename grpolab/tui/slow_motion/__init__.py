"""One step in slow motion: from prompts to the update."""
