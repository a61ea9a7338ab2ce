"""Prompts and answers laid flat, each distinct prefix of a group's answers once: linears never see
padding or the same context twice, and only attention sees rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone import Prompts
from grpolab.engine.flat import gather, pick, place


@dataclass(frozen=True)
class Plan:
    """Where each flat token stands: all prompt tokens first, then each row's answer tokens that
    are inputs (all but its last) and not in an earlier row's answer to the same prompt, after the
    same tokens.

    K prompts of up to P tokens, n rows of up to S answer inputs, r of them with tokens of their
    own, up to Q each; Mp flat prompt tokens, Ma flat answer tokens, M = Mp + Ma.
    """

    prompt_at: Tensor  # [Mp] index into [K·P]
    answer_at: Tensor  # [Ma] index into [n·T]
    query_at: Tensor  # [Ma] index into [r·Q]
    key_at: Tensor  # [r·(P+S)] flat token of each key
    position: Tensor  # [M] rotary position
    prompt_attn: Tensor  # [K, 1, P, P] bool
    answer_attn: Tensor  # [r, 1, Q, P + S] bool
    context_at: Tensor  # [K + Ma] flat tokens whose states predict: ends of prompts, answer tokens
    contexts: Tensor  # [n, T] which of these predicts each answer token; 0 on padding
    prompts: tuple[int, int]  # K, P
    queries: tuple[int, int]  # r, Q

    @staticmethod
    def of(prompts: Prompts, group: Tensor, answers: Tensor, mask: Tensor) -> Plan:
        (k, p), (n, t), device = prompts.ids.shape, mask.shape, mask.device
        s = t - 1
        inputs = mask[:, 1:].bool()  # token j is an input where token j + 1 exists
        owner = _owners(group, answers[:, :s], inputs)
        own = inputs & (owner == torch.arange(n, device=device)[:, None])

        prompt_at = prompts.mask.reshape(-1).nonzero().squeeze(1)
        own_at = own.reshape(-1).nonzero().squeeze(1)
        row, col = own_at // max(s, 1), own_at % max(s, 1)
        flat_prompt = (prompts.mask.reshape(-1).cumsum(0) - 1).clamp(min=0).view(k, p)
        flat_own = own.reshape(-1).cumsum(0).view(n, s) - 1
        node = flat_own.gather(0, owner).where(inputs, 0)  # [n, S] among the answer tokens

        count = own.sum(1)
        querying = count.nonzero().squeeze(1)  # the r rows
        first = (inputs.sum(1) - count)[querying]  # what a row has of its own is its end
        most = int(count.max()) if s else 0
        place_of_row = torch.zeros_like(count)
        place_of_row[querying] = torch.arange(len(querying), device=device)
        rank = first[place_of_row[row]]
        query_at = place_of_row[row] * most + col - rank
        theirs = group[querying]
        key_at = torch.cat([flat_prompt[theirs], node[querying] + len(prompt_at)], 1)

        causal_p = torch.ones(p, p, dtype=torch.bool, device=device).tril()
        # a padded query sees itself, so that no softmax is empty
        eye = torch.eye(p, dtype=torch.bool, device=device)
        prompt_attn = (causal_p & prompts.mask[:, None, :] | eye)[:, None]
        at = first[:, None] + torch.arange(most, device=device)  # [r, Q] place in the answer
        back = torch.arange(s, device=device) <= at[:, :, None]  # [r, Q, S]
        seen = prompts.mask[theirs][:, None, :].expand(-1, most, p)

        lengths = prompts.mask.sum(1)
        prompt_position = (prompts.mask.cumsum(1) - 1).reshape(-1)[prompt_at]
        contexts = torch.cat([group[:, None], (node + k).where(inputs, 0)], 1)
        return Plan(
            prompt_at=prompt_at,
            answer_at=row * t + col,
            query_at=query_at,
            key_at=key_at.reshape(-1),
            position=torch.cat([prompt_position, lengths[group[row]] + col]),
            prompt_attn=prompt_attn,
            answer_attn=torch.cat([seen, back], 2)[:, None],
            # left-padded: the last column is real
            context_at=torch.cat(
                [flat_prompt[:, -1], torch.arange(len(own_at), device=device) + len(prompt_at)]
            ),
            contexts=contexts,
            prompts=(k, p),
            queries=(len(querying), most),
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of prompts over themselves and of answers over their prompt and themselves.

        q [M, heads, D], k and v [M, kv_heads, D] -> [M, heads · D].
        """
        (count, width), (rows, most) = self.prompts, self.queries
        mp = len(self.prompt_at)
        groups = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}

        def padded(x: Tensor) -> Tensor:
            whole = place(x[:mp], self.prompt_at, count * width)
            return whole.view(count, width, *x.shape[1:]).transpose(1, 2)

        out = F.scaled_dot_product_attention(
            padded(q), padded(k), padded(v), attn_mask=self.prompt_attn, **groups
        )
        prompt = pick(out.transpose(1, 2).reshape(count * width, -1), self.prompt_at)
        if rows == 0:
            return prompt
        # [r, heads, P + S, D]
        ks, vs = (
            gather(x, self.key_at).view(rows, -1, *x.shape[1:]).transpose(1, 2) for x in (k, v)
        )
        qs = place(q[mp:], self.query_at, rows * most)
        qs = qs.view(rows, most, *q.shape[1:]).transpose(1, 2)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.answer_attn, **groups)
        answer = pick(out.transpose(1, 2).reshape(rows * most, -1), self.query_at)
        return torch.cat([prompt, answer])


def _owners(group: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """The first row that answers the same prompt with the same tokens up to here. [n], [n, S],
    real [n, S] -> [n, S]."""
    n, device = len(group), group.device
    same = (tokens[:, None] == tokens) & real[:, None] & real
    same &= (group[:, None] == group)[:, :, None]
    shared = same.cumprod(2).bool()  # [n, n, S]
    rows = torch.arange(n, device=device)
    return torch.where(shared, rows[None, :, None], n).amin(1).clamp(max=n - 1)
