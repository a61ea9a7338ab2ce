"""The glossary's terms, each explained in a sentence or two for a reader who is new to RL."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "policy": "the language model that is being trained: it gives every possible next token a "
    "probability",
    "token": "the unit of text that the model writes: a character, a part of a word, or a mark "
    "such as the end of the answer",
    "prompt": "the task given to the model, here for instance a sum to work out",
    "answer": "what the model wrote to a prompt, up to its end token or the length limit",
    "parsed answer": "the part of an answer that the grader extracts and compares with the right "
    "one",
    "group": "the answers sampled for the same prompt. Comparing them shows which are better than "
    "usual",
    "rollout": "all groups of one step: the prompts times the answers to each",
    "step": "one rollout, its grading, and the updates made from it",
    "update": "one change of the weights by the optimizer. A step may make several from the same "
    "rollout",
    "reward": "the number an answer gets from the grader, a weighted sum of parts such as right "
    "result and correct format",
    "grader": "a plain program that checks an answer and gives the reward",
    "advantage": "how much better than expected an answer, or one of its tokens, did. Above 0 (▲) "
    "it is reinforced, below 0 (▼) penalized",
    "baseline": "the expected reward, with which the reward is compared: the group's mean, the "
    "batch's mean, a critic's prediction, or nothing",
    "critic": "a second network that predicts the reward from an unfinished answer (PPO has one). "
    "Cold: just created, so its predictions are not yet useful",
    "value": "the critic's prediction of the reward, made before a token is chosen",
    "return": "the rewards from a token on, later ones possibly discounted",
    "TD error": "how much the critic's prediction changed from one token to the next, plus the "
    "reward in between",
    "GAE": "generalized advantage estimation: the sum of the TD errors from a token on, each "
    "weighted γ·λ times the one before",
    "explained variance": "share of the variance of the returns that the critic predicts: 1 all, "
    "0 no more than a constant would, below 0 less",
    "ratio (ρ)": "a token's probability now divided by its probability when it was sampled: 1 "
    "unchanged, 2 twice as likely",
    "clipping (ε)": "a token whose ratio has already moved far enough (by ε) gets no further "
    "gradient in that direction",
    "KL": "Kullback-Leibler divergence: how far one distribution is from another, 0 where they "
    "agree; here in nats, the natural unit",
    "reference": "the policy as it was at the start, unless the algorithm renews it "
    "(grpo-iterative)",
    "KL to reference": "how far training has moved the policy from the reference",
    "per-step KL": "how far the updates of one step moved the policy",
    "KL coefficient (β)": "the weight of the KL to reference in the loss or the reward: the "
    "larger, the closer the policy stays to the reference",
    "k1, k2, k3": "three ways to estimate a KL from sampled tokens alone; they differ in error and "
    "in the gradient they give",
    "entropy": "how undecided the model is about the next token: 0 certain, larger the more "
    "choices are open",
    "log-prob": "the natural logarithm of a token's probability: 0 certain, −0.7 one in two, −2.3 "
    "one in ten",
    "training–inference mismatch": "the difference between the log-probs of the sampler and those "
    "of the trainer for the same tokens",
    "loss": "the number that training minimizes. It may be 0 while its gradient is not: look at "
    "the gradient",
    "gradient": "the direction in which the weights are changed, and how strongly; ‖grad‖ is its "
    "norm",
    "grad weight": "∂L/∂log π of a token: how strongly it is reinforced or penalized, with "
    "advantage, clipping, KL and aggregation included",
    "reinforced": "the gradient increases a token's probability; penalized: it decreases it",
    "aggregation": "how the losses of all tokens become one number: it decides whether long "
    "answers weigh more",
    "greedy reward": "the reward of the answer in which the most likely token is always taken; "
    "ReMax takes it as the baseline",
    "zero variance": "a group whose rewards are all equal: its advantages are 0, so it gives no "
    "gradient",
    "held-out": "prompts that training never draws, used to measure test accuracy",
    "test accuracy": "share of right answers on held-out prompts. Sampled: at temperature 1; "
    "greedy: always taking the most likely token",
    "temperature": "how much sampling spreads: 1 as the model says, lower closer to its first "
    "choice",
    "adapter": "the few weights that are trained (LoRA), next to the large frozen model",
    "backbone": "the frozen model under the adapters; it is not changed",
    "optimizer": "what turns gradients into changes of the weights (AdamW); it keeps averages of "
    "earlier gradients",
    "KV cache": "what the model stores about the text so far, so that it need not read it again "
    "for every token",
    "activations": "what a forward pass stores for the backward pass",
    "loss tiles": "logits over the vocabulary, kept for a moment while the loss is computed",
    "workspace": "memory that single operations need while they run",
    "fragmentation": "reserved memory in gaps too small to use",
    "non-model": "memory that torch does not own: Python, libraries, the CUDA context",
    "lane": "one policy with its algorithm, optimizer and curves. A run may have several, which "
    "train on the same task side by side",
    "channel": "one number for every token, such as its advantage, ratio or entropy, shown as "
    "color and mark",
    "lens": "one rollout under every algorithm: which tokens each would reinforce or penalize, and "
    "how strongly",
    "what if": "the rollout scored again with settings that you change, without training",
    "cosine": "whether two gradients point the same way: +1 same direction, 0 unrelated, −1 "
    "opposite",
    "preset": "the settings with which an algorithm computes what its paper, or another "
    "framework, computes",
    "scenario": "the file that says what is run: model, task, rewards, algorithm, length, seed",
    "run": "the directory into which everything that happened is written",
    "replay": "a recorded run played back; nothing is computed",
    "checkpoint": "the state of training on disk, from which a run can resume",
    "timeline": "bookmarks, checkpoints and changes of a run, by step",
    "hold": "the view stays at one step while training continues",
    "rewind": "training returns to a checkpoint and repeats the steps with the same prompts and "
    "random seeds",
    "fork": "a second lane that starts as a copy of another one",
    "GRPO": "group relative policy optimization: the group's mean is the baseline, no critic",
    "PPO": "proximal policy optimization: a critic is the baseline, ratios are clipped",
    "REINFORCE": "the oldest of the family: reinforces what did better than the baseline",
}
