"""Memory by owner and phase over the steps, measured and predicted.

`model` reads a lane's memory by step and draws stacks and bars, `view` has the boxes.
Not here: measuring (`engine.memory`) and predicting it (`estimate.memory`).
"""
