"""What slow motion says at each beat, in plain words with the numbers of the group."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grpolab.tui.slow_motion.model import Place, Story
from grpolab.tui.widgets.text import clip, directed, number, percent, visible
from grpolab.tui.widgets.token_rows import shown


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _token(story: Story, place: Place) -> str:
    row, token = place
    piece = clip(shown(story.pieces[row][token]), 16)
    return f"«{piece}», token {token + 1} of answer {row - story.rows[0] + 1}"


# tokens


def begins(story: Story) -> str:
    prompts = story.r.prompts
    prompt = clip(visible(prompts[story.prompt]), 60) if prompts else ""
    return (
        f"One prompt: «{prompt}». The policy answers it {_many(len(story.rows), 'time')}, all at "
        "once. It writes one token after another; each is drawn at random, the likelier ones "
        "more often. So the answers differ, and there is something to compare."
    )


def writing(story: Story) -> str:
    return "The answers are being written: at every place the policy draws one token for each."


def written(story: Story) -> str:
    g = story.r.graded
    done = sum(g.finished[row] for row in story.rows) if g is not None else 0
    cut = len(story.rows) - done
    told = f"All {len(story.rows)} answers are written."
    if cut:
        told += f" {_many(cut, 'answer')} did not end in time and was cut off at "
        told += f"{story.r.max_tokens} tokens."
        return told.replace(" was cut", " were cut") if cut > 1 else told
    return f"{told} Each of them ended by itself."


# grade


def part(story: Story, name: str) -> str:
    g = story.r.graded
    assert g is not None
    given = [g.parts[row].get(name, 0.0) for row in story.rows]
    earned = [x for x in given if x]
    told = f"The grade falls. {visible(name)}: "
    if not earned:
        return told + "none of the answers earns anything for it."
    low, high = min(earned), max(earned)
    worth = directed(low) if low == high else f"from {directed(low)} to {directed(high)}"
    return f"{told}{len(earned)} of {len(given)} answers get {worth} for it."


def graded(story: Story) -> str:
    rewards = _rewards(story)
    if not rewards:
        return "The grades were not recorded."
    if max(rewards) - min(rewards) < 1e-9:
        return (
            f"Together every answer gets {number(rewards[0])}. All are equal: compared with each "
            "other they have nothing to teach."
        )
    return (
        f"Together: rewards from {number(min(rewards))} to {number(max(rewards))}, mean "
        f"{number(_mean(rewards))}. Whoever is above the mean did better than the policy usually "
        "does on this prompt."
    )


# advantage


def compared(story: Story) -> str:
    name = story.r.algorithm.upper()
    if story.critic:
        return (
            f"{name} has a critic: before every token it forecast how the answer will end. A "
            "token's advantage Â adds up what surprised it from there on: it is reckoned from the "
            "end of an answer to its beginning, and tokens of one answer differ."
        )
    rewards = _rewards(story)
    against = "an average of rewards" if "b" in _symbols(story) else "the group's mean"
    if not rewards or not _symbols(story) & {"m", "b"}:
        return f"{name} gives every answer an advantage Â: how much it is to be imitated."
    return (
        f"{name} has no critic. It compares an answer's reward with {against}: what is above gets "
        "a positive advantage Â, praise ▲; what is below a negative one, blame ▼."
    )


def spreading(story: Story) -> str:
    return "The advantages spread over the tokens: ▲ ▴ praise, ▼ ▾ blame, · nothing."


def spread(story: Story) -> str:
    flat = [x for xs in story.advantage.values() for x in xs if math.isfinite(x)]
    if not any(flat):
        return "Every advantage is 0: this group says nothing, and no token is praised or blamed."
    same = all(len(set(xs)) <= 1 for xs in story.advantage.values())
    how = (
        "Every token of an answer gets the same: no one knows which of them was the good one; "
        "only many answers together tell."
        if same
        else "Tokens of one answer get different ones."
    )
    return f"Advantages from {directed(min(flat))} to {directed(max(flat))}. {how}"


# objective


def token(story: Story, place: Place) -> str:
    row, t = place
    told = f"Look at {_token(story, place)}. "
    advantage = story.advantage[row]
    if t < len(advantage):
        word = "praised" if advantage[t] > 0 else "blamed" if advantage[t] < 0 else "neither"
        told += f"It is {word}, Â = {directed(advantage[t])}. "
    ratios = story.r.channel("ratio")
    if story.branch(place) is None:
        return told + "The settings of this step are not known here: no formula can be shown."
    if ratios is None or t >= len(ratios[row]):
        return told
    ratio = ratios[row][t]
    if abs(ratio - 1) < 1e-3:
        return told + (
            "The ratio ρ of its probability now to that when it was written is 1: the policy has "
            "not moved away from it yet."
        )
    way = "likelier" if ratio > 1 else "less likely"
    return told + (
        f"Earlier updates of this step made it {way} already: ρ, its probability now over that "
        f"when it was written, is {number(ratio)}."
    )


def chosen(story: Story, place: Place) -> str:
    b = story.branch(place)
    assert b is not None
    told = ""
    if len(b.candidates) > 1:
        rest = " and ".join(f"{what} = {directed(x)}" for what, x in b.candidates)
        won = next((what for what, x in b.candidates if x == b.gain), "")
        same = len({x for _, x in b.candidates}) == 1
        told = f"The objective takes the smaller of {rest}"
        told += ": here both are equal. " if same else f": {won} wins. "
    return told + b.why[:1].upper() + b.why[1:] + "."


# gradient


def pushes(story: Story) -> str:
    if not story.pushes_known:
        return (
            "The gradient pushes the tokens up ▲ or down ▼. What pushed each of them was not "
            "recorded in this step; its advantage stands in for it."
        )
    return (
        "The gradient of the whole loss pushes: a token's weight says how hard it is pulled up ▲ "
        "or down ▼. It has everything in it: the advantage, the clip, the KL, how the mean is "
        "taken."
    )


def pushing(story: Story) -> str:
    return "▲ ▴ this token is to become likelier, ▼ ▾ less likely, · it is left alone."


def pushed(story: Story) -> str:
    up, down, still, held = story.counts()
    told = f"Of this group's tokens {up} are pushed up, {down} down, {still} not at all"
    if held:
        told += f", {held} of those because a clip holds them"
    if not up and not down:
        return f"{told}. With equal rewards there is nothing to learn from this group."
    return f"{told}. All groups of the rollout push at once, on the same weights of the model."


# update


def before(story: Story) -> str:
    if story.measured:
        many = _many(story.updates, "update") if story.updates else "the updates"
        return (
            f"Now the optimizer moves the weights: {many} in this step. These are the "
            "probabilities of the very tokens that were written, as they were before."
        )
    if any(any(xs) for xs in story.moved.values()):
        return (
            "The optimizer moves the weights. What the whole step made of these tokens was not "
            "measured in this run (record.after does it, or slow motion on a live run). Known is "
            "how far they had come when the last update of the step began."
        )
    return (
        "The optimizer moves the weights. What that made of these tokens was not measured in this "
        "run: the setting record.after measures every step, and slow motion on a live run asks "
        "for it."
    )


def moving(story: Story) -> str:
    return "The probabilities move, from before the step to after it."


def after(story: Story) -> str:
    likelier, up, rarer, down = story.obeyed()
    when = "After the step" if story.measured else "When its last update began"
    told = []
    if up:
        told.append(f"{percent(likelier / up)} of the {_many(up, 'token')} pushed up were likelier")
    if down:
        less = f"{percent(rarer / down)} of the {_many(down, 'token')} pushed down"
        told.append(f"{less} less likely" if up else f"{less} were less likely")
    out = f"{when}, " + ", ".join(told) + ". " if told else ""
    ends = [(_sum(story.moved[row]), row - story.rows[0] + 1) for row in story.pieces]
    (low, worst), (high, best) = min(ends), max(ends)
    out += f"As a whole, answer {best} is {_times(high)} as likely as before"
    out += f", answer {worst} {_times(low)}. " if worst != best else ". "
    return out + "Tokens share the weights: some go along with others against their own push."


def _times(log_ratio: float) -> str:
    return f"{number(math.exp(min(max(log_ratio, -60.0), 60.0)))} times"


def _rewards(story: Story) -> list[float]:
    g = story.r.graded
    return [g.reward[row] for row in story.rows if row < len(g.reward)] if g is not None else []


def _symbols(story: Story) -> set[str]:
    from grpolab.algorithms import explain

    if story.algorithm is None:
        return set()
    return {term.symbol for term in explain.terms(type(story.algorithm))}


def _mean(x: Sequence[float]) -> float:
    return sum(x) / len(x)


def _sum(x: Sequence[float]) -> float:
    return sum(v for v in x if math.isfinite(v))
