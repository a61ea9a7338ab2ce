"""Memory by owner and phase over the steps, measured and predicted."""
