"""Prompts and answers laid flat: linears never see padding, and only attention sees rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grpolab.engine.backbone import Prompts


@dataclass(frozen=True)
class Plan:
    """Where each flat token stands: all prompt tokens first, then each row's answer but its last.

    K prompts of up to P tokens, n rows of up to T answer tokens, S = T − 1 answer inputs, M flat
    tokens.
    """

    prompt_at: Tensor  # [Mp] index into [K·P]
    answer_at: Tensor  # [Ma] index into [n·T]
    padded_at: Tensor  # [Ma] index into [n·S]
    position: Tensor  # [M] rotary position
    group: Tensor  # [n]
    prompt_attn: Tensor  # [K, 1, P, P] bool
    answer_attn: Tensor  # [n, 1, S, P + S] bool
    shape: tuple[int, int, int, int]  # K, P, n, S

    @staticmethod
    def of(prompts: Prompts, group: Tensor, mask: Tensor) -> Plan:
        (k, p), (n, t), device = prompts.ids.shape, mask.shape, mask.device
        s = t - 1
        inputs = mask[:, 1:].bool()  # token j is an input where token j + 1 exists
        prompt_at = prompts.mask.reshape(-1).nonzero().squeeze(1)
        padded_at = inputs.reshape(-1).nonzero().squeeze(1)
        row, col = padded_at // max(s, 1), padded_at % max(s, 1)
        lengths = prompts.mask.sum(1)
        prompt_position = (prompts.mask.cumsum(1) - 1).reshape(-1)[prompt_at]
        position = torch.cat([prompt_position, lengths[group[row]] + col])
        causal_p = torch.ones(p, p, dtype=torch.bool, device=device).tril()
        # a padded query sees itself, so that no softmax is empty
        eye = torch.eye(p, dtype=torch.bool, device=device)
        prompt_attn = (causal_p & prompts.mask[:, None, :] | eye)[:, None]
        causal_s = torch.ones(s, s, dtype=torch.bool, device=device).tril().expand(n, s, s)
        seen = prompts.mask[group][:, None, :].expand(n, s, p)
        answer_attn = torch.cat([seen, causal_s], 2)[:, None]
        return Plan(
            prompt_at,
            row * t + col,
            padded_at,
            position,
            group,
            prompt_attn,
            answer_attn,
            (k, p, n, s),
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of prompts over themselves and of answers over their prompt and themselves.

        q [M, heads, D], k and v [M, kv_heads, D] -> [M, heads · D].
        """
        K, P, n, S = self.shape
        mp = len(self.prompt_at)
        heads, kv_heads = q.shape[1], k.shape[1]
        groups = {"enable_gqa": True} if heads != kv_heads else {}

        def rows(x: Tensor, at: Tensor, count: int, width: int) -> Tensor:
            flat = x.new_zeros(count * width, *x.shape[1:]).index_copy(0, at, x)
            return flat.view(count, width, *x.shape[1:]).transpose(1, 2)  # [count, heads, width, D]

        kp, vp = rows(k[:mp], self.prompt_at, K, P), rows(v[:mp], self.prompt_at, K, P)
        qp = rows(q[:mp], self.prompt_at, K, P)
        out = F.scaled_dot_product_attention(qp, kp, vp, attn_mask=self.prompt_attn, **groups)
        prompt = out.transpose(1, 2).reshape(K * P, -1)[self.prompt_at]
        if S == 0 or len(self.padded_at) == 0:
            return prompt
        ks = torch.cat([kp[self.group], rows(k[mp:], self.padded_at, n, S)], 2)
        vs = torch.cat([vp[self.group], rows(v[mp:], self.padded_at, n, S)], 2)
        qs = rows(q[mp:], self.padded_at, n, S)
        out = F.scaled_dot_product_attention(qs, ks, vs, attn_mask=self.answer_attn, **groups)
        return torch.cat([prompt, out.transpose(1, 2).reshape(n * S, -1)[self.padded_at]])

    def gather_states(self, x: Tensor) -> Tensor:
        """Flat states [M, H] -> [n, T, H]: the last prompt token's first, then the inputs'."""
        K, P, n, S = self.shape
        mp = len(self.prompt_at)
        prompt = x.new_zeros(K * P, x.shape[1]).index_copy(0, self.prompt_at, x[:mp])
        first = prompt.view(K, P, -1)[:, -1][self.group]  # left-padded: the last column is real
        rest = x.new_zeros(n * S, x.shape[1]).index_copy(0, self.padded_at, x[mp:])
        return torch.cat([first[:, None], rest.view(n, S, x.shape[1])], 1)
