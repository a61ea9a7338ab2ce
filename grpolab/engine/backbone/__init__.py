"""The frozen language model and the adapters on it: loading, sampling, scoring, the output head.
`cpu` and `gpu` hold the fast implementations, `hf` the one for any causal model of transformers.

Not here: what is learned from the answers (`engine.learner`), optimizers.
"""
