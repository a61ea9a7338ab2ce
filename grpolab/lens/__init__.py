"""The lens: one rollout, and what every algorithm makes of it."""
