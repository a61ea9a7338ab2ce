"""What the guided tour says, stop by stop. Every term that a stop uses is explained on its card."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stop:
    title: str
    text: str
    pane: str = ""  # the pane that it explains
    tries: str = ""  # the name of the lab's action to try
    trying: str = ""  # what trying it does, in words
    words: tuple[str, ...] = ()  # of the glossary, explained below
    modes: tuple[str, ...] = ("live", "watch", "replay")


STOPS = (
    Stop(
        "Welcome",
        "A small language model learns sums in front of you. It samples answers, a program grades "
        "them, and an RL algorithm increases the probability of the better ones. The tour has a "
        "stop for each part of the screen; training continues meanwhile.",
        words=("policy", "token"),
    ),
    Stop(
        "Rollouts: what the model writes",
        "All answers to one prompt, a row each: ● is right, ○ wrong; the number and its bar say "
        "how much better or worse than expected an answer did. The text is colored token by "
        "token by one number, a channel; auto takes the one that tells most.",
        "rollouts", "answer_next", "to the next answer", ("group", "reward", "advantage"),
    ),
    Stop(
        "Token: reinforced or penalized",
        "What the objective does to the selected token, and why, in one sentence; below it the "
        "token's value in every channel. Look for tokens that stand out, and go to them.",
        "tokens", "channel", "the next channel", ("channel", "ratio (ρ)"),
    ),
    Stop(
        "Learning: is it getting better?",
        "The reward of every step, and the accuracy on test prompts, which training never uses. "
        "Both should rise; a reward that rises alone is a warning.",
        "learning", "older", "one step back in time", ("held-out", "reward"),
    ),
    Stop(
        "KL: how far has it moved?",
        "KL to reference: how far the policy is from its start. Per-step KL: the size of each "
        "step's update. A slow rise is normal; a curve that bends upwards means divergence.",
        "kl", "last", "back to the newest step", ("KL", "reference"),
    ),
    Stop(
        "Memory: where the bytes go",
        "Memory by owner at the peak of a step, and by phase. The largest bar is what you would "
        "have to reduce to fit a larger model.",
        "memory", "zoom", "zoom the pane; again restores the layout",
        ("backbone", "activations"),
    ),
    Stop(
        "Algorithm: formula and numbers",
        "The current formula, the values of its symbols for the selected token, and the numbers "
        "of the newest step. Zoomed, each number is explained beside it.",
        "algorithm", "formula", "all formulas, with sources; esc comes back here",
        ("loss", "clipping (ε)"),
    ),
    Stop(
        "Lens: one rollout, every algorithm",
        "What would another algorithm do with the same answers? The lens shows which tokens each "
        "one reinforces or penalizes, and whether they agree. In it, I changes settings and "
        "scores the answers again at once.",
        "tokens", "lens", "the lens; esc comes back here", ("lens", "cosine"),
    ),
    Stop(
        "Change it while it trains",
        "The algorithm and its settings can be changed during the run; the policy is kept. "
        "Pausing the training and holding the view are two different things; the second row on "
        "top says which is on.",
        "algorithm", "pause", "pause the training; again resumes it", ("hold",),
        ("live",),
    ),
    Stop(
        "Replay: a recorded run",
        "Nothing is computed here: a recorded run is played. It can be paused, sped up, and moved "
        "step by step, and everything in this tour works in it.",
        "learning", "play", "play or pause", ("replay", "step"), ("replay",),
    ),
    Stop(
        "Where to go from here",
        "Help explains the current pane and lists its keys. The list of commands finds every "
        "action by name. The glossary explains every term on the screen.",
        tries="glossary", trying="the glossary; esc comes back here",
    ),
)  # fmt: skip


def stops(mode: str) -> list[Stop]:
    return [stop for stop in STOPS if mode in stop.modes]
