"""The words on the screen, each in a sentence or two that needs no other knowledge."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "policy": "the language model that is being trained: for every next token it gives every "
    "choice a probability",
    "token": "the piece of text that the model writes at one go: a character, a part of a word, "
    "or a mark such as the end of the answer",
    "prompt": "the task that the model is given, here for instance a sum to work out",
    "answer": "what the model wrote to a prompt, from its first token to its end mark or to the "
    "limit of its length",
    "group": "the answers sampled for one and the same prompt. Comparing them tells which were "
    "better than usual",
    "rollout": "all groups of one step: the prompts times the answers to each",
    "step": "one rollout, its grading, and the updates made from it",
    "update": "one change of the weights by the optimizer. A step may make several from the same "
    "rollout",
    "reward": "the number that an answer gets from the grader, a weighted sum of parts such as "
    "right result and kept format",
    "grader": "a plain program that checks an answer and gives the reward; no opinion is involved",
    "advantage": "how much better than expected an answer, or one of its tokens, did. Above 0 (▲) "
    "it is made likelier, below 0 (▼) less likely",
    "baseline": "what is expected: the reward is compared with it. The group's mean, the batch's "
    "mean, a critic's forecast, or nothing",
    "critic": "a second network that forecasts the reward from an unfinished answer (PPO has "
    "one). Cold: just created, its forecasts mean little yet",
    "value": "the critic's forecast of the reward, made before a token is chosen",
    "return": "what really followed from a token on: the rewards still to come, later ones perhaps "
    "counting less",
    "TD error": "by how much the forecast changed from one token to the next: a surprise, good or "
    "bad",
    "GAE": "generalised advantage estimation: the surprises from a token on, summed, each next one "
    "counting γ·λ times as much",
    "explained variance": "how much of the returns the critic foresees: 1 all, 0 no more than a "
    "mean would, below 0 less than that",
    "ratio (ρ)": "how much likelier a token is now than when it was sampled: 1 unchanged, 2 twice "
    "as likely",
    "clipping (ε)": "a token whose ratio has already moved far enough (by ε) gets no further push "
    "in that direction",
    "KL": "Kullback-Leibler divergence: how far one distribution is from another, 0 where they "
    "agree; here in nats, the natural unit",
    "reference": "the policy as it was at the start. The KL to it tells how far training has moved",
    "leash (β)": "the weight of that KL in the loss or the reward: the larger, the closer the "
    "policy is held to its start",
    "k1, k2, k3": "three ways to estimate a KL from sampled tokens alone; they differ in error and "
    "in the gradient that they give",
    "entropy": "how undecided the model is about the next token: 0 sure of one, larger the more "
    "choices are open",
    "log-prob": "the natural logarithm of a token's probability: 0 certain, −0.7 one in two, −2.3 "
    "one in ten",
    "loss": "the number that training makes smaller. It may be 0 while its gradient is not: look "
    "at the gradient",
    "gradient": "the direction in which the weights are changed, and how strongly; ‖grad‖ is its "
    "length",
    "gradient weight": "how strongly one token is pushed in the end, with clipping, KL and the "
    "mean over tokens in it",
    "aggregation": "how the losses of all tokens become one number: it decides whether long "
    "answers weigh more",
    "greedy reward": "the reward of the answer in which the likeliest token is always taken; ReMax "
    "takes it as the baseline",
    "no signal": "a group whose rewards are all equal: nothing can be told apart, so nothing is "
    "learned from it",
    "held-out": "prompts that training never draws, for measuring what was really learned",
    "accuracy": "the share of answers whose result is right; greedy: where the likeliest token is "
    "always taken",
    "temperature": "how daring the sampling is: 1 as the model says, lower closer to its first "
    "choice",
    "adapter": "the few weights that are trained (LoRA), beside the large frozen model",
    "backbone": "the frozen model under the adapters; it is not changed",
    "optimizer": "what turns gradients into changes of the weights (AdamW); it remembers earlier "
    "gradients",
    "KV cache": "what the model keeps of the text so far, so that it need not read it again for "
    "every token",
    "activations": "what a forward pass keeps for the way back to the gradients",
    "loss tiles": "numbers as many as the vocabulary for every token, needed for a moment in the "
    "loss",
    "workspace": "memory that single operations need while they run",
    "fragmentation": "memory kept free in pieces too small to use",
    "outside": "memory that is not the model's: Python, libraries, other processes on the GPU",
    "lane": "one policy with its algorithm, optimizer and curves. A lab may have several, which "
    "learn the same task side by side",
    "channel": "one number for every token, such as its advantage, ratio or entropy, shown as "
    "colour and mark",
    "lens": "one rollout looked at by every algorithm: which tokens each would push, and how much",
    "what if": "the rollout scored again with settings that you change, without training anything",
    "cosine": "whether two gradients point the same way: +1 the same, 0 nothing in common, −1 "
    "opposite",
    "preset": "the settings with which an algorithm computes what its paper, or another "
    "framework, computes",
    "scenario": "the file that says what is run: model, task, rewards, algorithm, length, seed",
    "run": "the directory into which a lab writes all that happened",
    "replay": "a recorded run played again: nothing is computed",
    "checkpoint": "the state of training on disk, from which a run can go on",
    "hold": "the view stays at one step while the training goes on",
    "fork": "a second lane that starts where another one stands",
    "GRPO": "group relative policy optimization: the group's mean is the baseline, no critic",
    "PPO": "proximal policy optimization: a critic is the baseline, ratios are clipped",
    "REINFORCE": "the oldest of the family: praise what did better than the baseline",
}
