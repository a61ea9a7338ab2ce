"""Read-only questions to a live lane: log-probs after an update, chat, the KL bench, the lens on
its newest step. None of them changes a digest.
"""
