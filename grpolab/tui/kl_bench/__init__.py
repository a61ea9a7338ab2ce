"""The KL bench: what each estimator says of one known KL."""
