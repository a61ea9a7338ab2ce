"""The credit trace: rewards, values, TD errors and advantages of one answer, token by token.

`model` recomputes them from the recorded step, `view` draws the table and a verdict on the critic.
Not here: advantage estimation in training (`algorithms`).
"""
