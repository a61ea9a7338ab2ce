"""The KL bench: what each estimator says of one known KL.

`screen` requests measurements, `view` draws one of them and their list.
Not here: measuring (`engine.probes.kl_bench`).
"""
