"""What the guided tour says, stop by stop. No sentence needs a word that is not explained on the
same card.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stop:
    title: str
    text: str
    pane: str = ""  # the pane that it speaks of
    tries: str = ""  # the name of the lab's action to try
    trying: str = ""  # what trying it does, in words
    words: tuple[str, ...] = ()  # of the glossary, explained below
    modes: tuple[str, ...] = ("live", "watch", "replay")


STOPS = (
    Stop(
        "Welcome",
        "A small language model learns sums in front of you. It writes answers, a program grades "
        "them, and an algorithm makes what went well likelier. The tour has a stop for each part "
        "of the screen; the lab goes on meanwhile.",
        words=("policy", "token"),
    ),
    Stop(
        "Rollouts: what the model writes",
        "Above, the prompts of this step; below, the answers to one of them. Look at the marks: ● "
        "is right, ○ wrong, and ▲ or ▼ says whether an answer did better or worse than the others.",
        "rollouts", "answer_next", "to the next answer", ("group", "reward", "advantage"),
    ),
    Stop(
        "Tokens: what is praised, blamed",
        "One answer, token by token, coloured by one number for each token. The row of marks "
        "below says the same without colour. Look for single tokens that stand out.",
        "tokens", "channel", "to another number for each token", ("channel", "ratio (ρ)"),
    ),
    Stop(
        "Learning: is it getting better?",
        "The reward of every step, and the share of right answers to prompts that training never "
        "sees. Look whether both rise; one that rises alone is a warning.",
        "learning", "older", "one step back in time", ("held-out", "reward"),
    ),
    Stop(
        "KL: how far has it moved?",
        "How far the model is from its start, and how far each step moved it. A slow rise is "
        "normal. A curve that bends upwards means that training is running away.",
        "kl", "last", "back to the newest step", ("KL", "reference"),
    ),
    Stop(
        "Memory: where the bytes go",
        "Who holds how much at the peak of a step, and in which phase. The largest bar is what "
        "you would have to shrink to fit a larger model.",
        "memory", "zoom", "the pane gets the whole screen, and again gives it back",
        ("backbone", "activations"),
    ),
    Stop(
        "Algorithm: formula and numbers",
        "The formula in force, what its letters are worth for the chosen token, and the numbers "
        "of the newest step. Zoomed, each number has its meaning beside it.",
        "algorithm", "formula", "all formulas, with sources; esc leads back here",
        ("loss", "clipping (ε)"),
    ),
    Stop(
        "Lens: one rollout, every algorithm",
        "What would another algorithm do with the same answers? The lens shows which tokens each "
        "one pushes, and whether they agree. In it, w changes settings and scores again at once.",
        "tokens", "lens", "the lens; esc leads back here", ("lens", "cosine"),
    ),
    Stop(
        "Steer: you are not only watching",
        "The algorithm and its settings can be changed while the model learns: the model keeps "
        "what it knows. Pausing the training and holding the view are two different things; the "
        "second row on top says which is on.",
        "algorithm", "pause", "pause the training; press it again and it goes on", ("hold",),
        ("live",),
    ),
    Stop(
        "Time: a recorded run is a film",
        "Nothing is computed here: the run is played again. It can be stopped, sped up, and moved "
        "step by step, and all you have seen works in it.",
        "learning", "play", "play or pause", ("replay", "step"), ("replay",),
    ),
    Stop(
        "Where to go from here",
        "Help explains the pane that you are in and lists its keys. Every action has a name too: "
        "type a part of it into the list of commands. And every word on the screen is explained "
        "in one place.",
        tries="glossary", trying="the words; esc leads back here",
    ),
)  # fmt: skip


def stops(mode: str) -> list[Stop]:
    return [stop for stop in STOPS if mode in stop.modes]
