"""Chat with the policy.

`screen` asks the engine and keeps the input line, `view` draws questions and answers.
Not here: sampling and grading the answers (`engine.probes.chat`).
"""
