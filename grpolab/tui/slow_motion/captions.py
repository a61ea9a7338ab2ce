"""The captions of slow motion: what happens at each beat, with the numbers of the group."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grpolab.tui.formulas.token_facts import other_terms
from grpolab.tui.slow_motion.model import Place, Story
from grpolab.tui.widgets.signs import settled
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
        f"One prompt: «{prompt}». The policy answers it {_many(len(story.rows), 'time')}, in "
        "parallel. Each token is sampled from the policy's distribution, so the answers differ "
        "and can be compared."
    )


def writing(story: Story) -> str:
    return "Sampling: at every position the policy draws one token for each answer."


def written(story: Story) -> str:
    g = story.r.graded
    done = sum(g.finished[row] for row in story.rows) if g is not None else 0
    cut = len(story.rows) - done
    told = f"All {len(story.rows)} answers are sampled."
    if cut:
        was = "was" if cut == 1 else "were"
        return f"{told} {_many(cut, 'answer')} {was} cut at {story.r.max_tokens} tokens."
    return f"{told} Each of them ended with its end token."


# grade


def part(story: Story, name: str) -> str:
    g = story.r.graded
    assert g is not None
    given = [g.parts[row].get(name, 0.0) for row in story.rows]
    earned = [x for x in given if x]
    told = f"Reward part {visible(name)}: "
    if not earned:
        return told + "0 for every answer."
    low, high = min(earned), max(earned)
    worth = directed(low) if low == high else f"from {directed(low)} to {directed(high)}"
    return f"{told}{len(earned)} of {len(given)} answers get {worth}."


def graded(story: Story) -> str:
    rewards = _rewards(story)
    if not rewards:
        return "The rewards were not recorded."
    if max(rewards) - min(rewards) < 1e-9:
        return (
            f"Every answer has the reward {number(rewards[0])}: zero variance. Compared with each "
            "other, the answers give no advantage."
        )
    return (
        f"Rewards from {number(min(rewards))} to {number(max(rewards))}, mean "
        f"{number(_mean(rewards))}. An answer above the mean did better than the policy usually "
        "does on this prompt."
    )


# advantage


def compared(story: Story) -> str:
    name = story.r.algorithm.upper()
    if story.critic:
        return (
            f"{name} has a critic: before every token it predicted the return. A token's advantage "
            "Â sums the TD errors from that token on, so it is computed from the end of the answer "
            "to its beginning, and tokens of one answer differ."
        )
    rewards = _rewards(story)
    against = "an average of rewards" if "b" in _symbols(story) else "the group's mean"
    if not rewards or not _symbols(story) & {"m", "b"}:
        return f"{name} gives every answer an advantage Â, the weight with which it is imitated."
    return (
        f"{name} has no critic. It compares an answer's reward with {against}: an answer above it "
        "gets a positive advantage Â ▲ and is reinforced, one below a negative Â ▼ and is "
        "penalized."
    )


def spreading(story: Story) -> str:
    return "Advantages of the tokens: ▲ ▴ to be reinforced, ▼ ▾ to be penalized, · zero."


def spread(story: Story) -> str:
    flat = [x for xs in story.advantage.values() for x in xs if math.isfinite(x)]
    if not any(flat):
        told = "Every advantage is 0 (zero variance): the surrogate gives no token a gradient"
        others = other_terms(story.algorithm) if story.algorithm is not None else ""
        return f"{told}; what is left is that of {others}." if others else f"{told}."
    same = all(len(set(xs)) <= 1 for xs in story.advantage.values())
    how = (
        "Every token of an answer gets the same one: which token mattered shows only over many "
        "answers."
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
        a = settled(advantage[t])
        word = "to be reinforced" if a > 0 else "to be penalized" if a < 0 else "zero advantage"
        told += f"Â = {directed(a)}: {word}. "
    ratios = story.r.channel("ratio")
    if story.branch(place) is None:
        return told + "The settings of this step are unknown, so no formula can be shown."
    if ratios is None or t >= len(ratios[row]):
        return told
    ratio = ratios[row][t]
    if abs(ratio - 1) < 1e-3:
        return told + (
            "The ratio ρ of its probability now to that when it was sampled is 1: the policy has "
            "not changed yet."
        )
    way = "increased" if ratio > 1 else "decreased"
    return told + (
        f"Earlier updates of this step have {way} its probability: ρ, now over when it was "
        f"sampled, is {number(ratio)}."
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
        told += "; here both are equal. " if same else f", {won}. "
    return told + b.why[:1].upper() + b.why[1:] + "."


# gradient


def gradient_begins(story: Story) -> str:
    if not story.pushes_known:
        return (
            "The gradient reinforces ▲ or penalizes ▼ each token. The grad weights of this step "
            "were not recorded; the advantages are shown instead."
        )
    return (
        "The gradient of the whole loss: a token's grad weight (∂L/∂log π) says how strongly it is "
        "reinforced ▲ or penalized ▼, with advantage, clipping, KL and aggregation included."
    )


def gradient_spreads(story: Story) -> str:
    return "▲ ▴ reinforced, ▼ ▾ penalized, ✂ clipped, · no gradient."


def gradient_counts(story: Story) -> str:
    up, down, still, clipped = story.counts()
    told = f"Of this group's tokens {up} are reinforced, {down} penalized, {still} have no gradient"
    if clipped:
        told += f" ({clipped} of them clipped)"
    if not up and not down:
        return f"{told}. With equal rewards (zero variance) this group changes nothing."
    return f"{told}. The gradients of all groups are summed: they share the model's weights."


# update


def before(story: Story) -> str:
    if story.measured:
        many = _many(story.updates, "update") if story.updates else "the updates"
        return (
            f"Now the optimizer changes the weights: {many} in this step. Shown are the "
            "probabilities of the sampled tokens before the step."
        )
    if any(any(xs) for xs in story.moved.values()):
        return (
            "The optimizer changes the weights. The probabilities after the step were not measured "
            "(record.after does, or slow motion on a live run). Shown is how far they had changed "
            "when the last update of the step began."
        )
    return (
        "The optimizer changes the weights. The probabilities after the step were not measured: "
        "the setting record.after measures them at every step, and slow motion on a live run "
        "requests it."
    )


def moving(story: Story) -> str:
    return "The probabilities change, from before the step to after it."


def after(story: Story) -> str:
    rose, up, fell, down = story.followed()
    when = "After the step" if story.measured else "When its last update began"
    told = []
    if up:
        told.append(f"{percent(rose / up)} of the {_many(up, 'reinforced token')} had risen")
    if down:
        told.append(f"{percent(fell / down)} of the {_many(down, 'penalized token')} had fallen")
    out = f"{when}, " + " and ".join(told) + " in probability. " if told else ""
    ends = [(_sum(story.moved[row]), row - story.rows[0] + 1) for row in story.pieces]
    (low, worst), (high, best) = min(ends), max(ends)
    out += f"As a whole, answer {best} is {_times(high)} as likely as before"
    out += f", answer {worst} {_times(low)}. " if worst != best else ". "
    return out + "Tokens share weights, so some move against their own gradient."


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
