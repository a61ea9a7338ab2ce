"""All answers to one prompt side by side, and one answer read whole."""
