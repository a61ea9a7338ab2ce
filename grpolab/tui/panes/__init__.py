"""What the lab shows, one pane a file."""
