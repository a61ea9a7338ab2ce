"""One step in slow motion: from prompts to the update.

`model` has the numbers of one group, `captions` the sentences, `beats` their sequence, `view` the
pictures and `screen` the playback.
Not here: measuring probabilities after a step (`engine.probes.after_update`).
"""
