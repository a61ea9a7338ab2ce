"""A newcomer's first ten minutes, driven by keys in tmux: `python -m tests.newcomer`."""
