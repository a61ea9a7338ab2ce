"""What the group shows by itself: which channel `auto` takes, how many rows an answer gets, which
answers are in sight, and that wide characters overflow nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from grpolab.record.lane_state import RolloutView
from grpolab.tui import quantities
from grpolab.tui.lab.rollouts import allot, window
from grpolab.tui.quantities import AUTO, Chosen, chosen
from grpolab.tui.widgets.text import wrap
from grpolab.tui.widgets.token_rows import layout

FLAT = [[0.5, 0.5, 0.5], [-0.5, -0.5]]
NAN = float("nan")


class Rollout:
    """Two answers to one prompt, with these channels."""

    def __init__(self, **channels: list[list[float]]) -> None:
        self.channels = channels
        self.tokens: object = object()
        self.after = None

    def rows(self, prompt: int) -> range:
        return range(2 * prompt, 2 * prompt + 2)


@pytest.fixture(autouse=True)
def channels_of_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantities, "offered", lambda lane, r: list(r.channels))
    monkeypatch.setattr(quantities, "values", lambda lane, r, name, row: r.channels[name][row])


def auto(**channels: list[list[float]]) -> Chosen:
    rollout = Rollout(**channels)
    found = chosen(None, rollout, 0, AUTO)  # pyright: ignore[reportArgumentType]
    again = chosen(None, rollout, 0, AUTO)  # pyright: ignore[reportArgumentType]
    assert found is again, "it is computed once for a step and prompt"
    return found


def test_an_advantage_that_differs_from_token_to_token_is_shown_first() -> None:
    found = auto(advantage=[[0.1, 0.5, 0.5], [0.2, 0.2]], push=[[0.0, 9.0, 1.0], [1.0, 2.0]])
    assert found == Chosen("advantage", "it differs from token to token")


def test_one_advantage_per_answer_gives_way_to_what_differs_along_it() -> None:
    uneven = [[1.0, 0.7, 1.0], [-1.0, -1.0]]
    assert auto(advantage=FLAT, push=uneven, ratio=[[1.0, 2.0, 1.0], [1.0, 1.0]]).name == "push"
    even = [[1.0, 0.9, 1.0], [-1.0, -1.0]]
    assert auto(advantage=FLAT, push=even, ratio=[[1.0, 1.06, 1.0], [1.0, 1.0]]).name == "ratio"
    calm = [[1.0, 1.04, 0.96], [1.0, 1.0]]
    spread = [[0.0, 0.11, 0.0], [0.0, 0.0]]
    assert auto(advantage=FLAT, push=even, ratio=calm, entropy=spread).name == "entropy"


def test_where_nothing_differs_the_gradient_weight_is_shown_unless_it_is_zero() -> None:
    even = [[1.0, 1.0, 1.0], [-1.0, -1.0]]
    assert auto(advantage=FLAT, push=even, entropy=[[0.3, 0.35, 0.3], [0.3, 0.3]]) == Chosen(
        "push", "nothing differs along an answer"
    )
    zero = [[0.0, 0.0, 0.0], [0.0, 0.0]]
    assert auto(advantage=zero, push=zero).name == "advantage"
    assert auto().name == "advantage", "nothing was recorded"


def test_values_that_are_no_numbers_decide_nothing() -> None:
    assert auto(advantage=[[NAN, 0.5, 0.5], [0.5, NAN]], push=[[NAN] * 3, [NAN] * 2]) == Chosen(
        "advantage", "nothing differs along an answer"
    )


def test_a_channel_that_the_user_chose_is_shown_where_the_step_has_it() -> None:
    rollout: RolloutView = Rollout(advantage=FLAT, kl=FLAT)  # pyright: ignore
    assert chosen(None, rollout, 0, "kl") == Chosen("kl")
    assert chosen(None, rollout, 0, "value").why, "without a critic, the one that auto takes"


needs = st.dictionaries(st.integers(0, 15), st.integers(1, 40), min_size=1, max_size=16)


@given(needs, st.integers(0, 80), st.integers(0, 15))
def test_rows_are_shared_out(needs: dict[int, int], room: int, here: int) -> None:
    got = allot(needs, room, here)
    assert got.keys() == needs.keys()
    assert all(1 <= got[i] <= needs[i] for i in needs), "at least one, and no empty rows"
    if room >= len(needs):
        assert sum(got.values()) <= room
    others = [i for i in needs if i != here]
    least = min((got[i] for i in others if got[i] < needs[i]), default=None)
    if least is not None:
        assert all(got[i] <= least for i in others), "no answer gets more than one that is cut"
    if here in needs and got[here] < needs[here]:
        assert sum(got.values()) >= min(room, len(needs)), "the selected one takes what is left"


@given(st.integers(1, 200), st.data())
def test_the_selected_answer_is_in_sight(total: int, data: st.DataObject) -> None:
    at, room = data.draw(st.integers(0, total - 1)), data.draw(st.integers(1, 60))
    shown = window(total, at, room)
    assert at in shown and len(shown) == min(total, room)
    assert shown.start >= 0 and shown.stop <= total


@given(st.text(alphabet="先再所以检查求ab1 +=⏎é", max_size=80), st.integers(4, 30))
def test_wide_characters_are_wrapped_within_the_width(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


pieces = st.lists(
    st.sampled_from(["先", "所以", "a", "=", "\n", "</think>", "检查检查检查"]), max_size=60
)


@given(pieces, st.integers(4, 30), st.booleans())
def test_tokens_of_wide_characters_stay_within_the_width(
    tokens: list[str], width: int, breaks: bool
) -> None:
    rows = layout(tuple(tokens), width, breaks)
    assert all(sum(cell_len(text) for _, text in row) <= width for row in rows)
    assert [i for row in rows for i, _ in row] == list(range(len(tokens))), "none lost, in order"
