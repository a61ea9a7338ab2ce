"""How the policy in `assets/policy` was made: `python -m grpolab.pretrain --out DIR`."""
