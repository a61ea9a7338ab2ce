"""One rollout under every algorithm."""
