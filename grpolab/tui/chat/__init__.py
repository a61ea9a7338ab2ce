"""Chat with the policy."""
