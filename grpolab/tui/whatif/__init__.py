"""What if: the same rollout under changed settings."""
