"""The screen. The app, the state that all screens share (`context`, `selection`, `source`), keys,
and one folder per screen with `screen.py` (keys and life), `view.py` (what is drawn) and
`model.py` (what is known, testable without a screen).

Not here: the engine (it is a child process), what the numbers mean (`analysis`). Loads no torch.
"""
