"""Every algorithm defines its advantage and its objective in its own file."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from grpolab.algorithms import FAMILY, base
from grpolab.algorithms.base import Algorithm

FORMULA = ("advantage", "objective")
INHERITED = {
    # 2402.03300, Algorithm 1: the GRPO objective, maximised against a reference that is renewed
    "grpo-iterative": ("advantage", "objective"),
    # 1707.06347, §4: eq. 8 is that of the fixed penalty too; only β is adapted
    "ppo-adaptive-kl": ("advantage", "objective"),
}
"""By algorithm: what its paper takes over unchanged, so that its class inherits it."""


def owner(algorithm: type[Algorithm], method: str) -> type:
    """The class whose body defines the method."""
    return next(c for c in algorithm.__mro__ if method in vars(c))


@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda a: a.name)
@pytest.mark.parametrize("method", FORMULA)
def test_the_formula_stands_in_the_algorithms_own_file(
    algorithm: type[Algorithm], method: str
) -> None:
    if method in INHERITED.get(algorithm.name, ()):
        assert method not in vars(algorithm), "it is no exception any more"
        parent = owner(algorithm, method)
        assert parent in FAMILY, "an exception inherits from the algorithm that its paper names"
        return
    assert method in vars(algorithm)
    assert vars(algorithm)[method].__module__ == algorithm.__module__
    source = Path(inspect.getfile(vars(algorithm)[method]))
    assert source == Path(inspect.getfile(algorithm))


def test_who_may_renew_the_reference_says_so() -> None:
    """The prediction of memory counts the copy."""
    renew = {a.name for a in FAMILY if owner(a, "wants_new_reference") is not Algorithm}
    assert renew == {a.name for a in FAMILY if a(a.Settings()).renews_reference} != set()


def test_one_file_per_algorithm() -> None:
    assert len({a.__module__ for a in FAMILY}) == len(FAMILY)


@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda a: a.name)
def test_no_class_between_an_algorithm_and_the_base_has_a_formula(
    algorithm: type[Algorithm],
) -> None:
    """Shared classes keep state and the update loop; a formula comes from an algorithm."""
    shared = [c for c in algorithm.__mro__ if c not in FAMILY and c not in (object, Algorithm)]
    assert not [(c.__name__, m) for c in shared for m in FORMULA if m in vars(c)]


@pytest.mark.parametrize("method", FORMULA)
def test_the_base_class_has_none(method: str) -> None:
    assert Algorithm.__module__ == base.__name__
    assert "raise NotImplementedError" in inspect.getsource(getattr(Algorithm, method))


@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda a: a.name)
def test_each_formula_is_a_few_lines(algorithm: type[Algorithm]) -> None:
    lines = {m: len(inspect.getsource(getattr(algorithm, m)).splitlines()) for m in FORMULA}
    assert max(lines.values()) <= 18, lines


def test_the_headers_say_paper_formula_and_what_differs() -> None:
    for algorithm in FAMILY:
        header = inspect.getdoc(inspect.getmodule(algorithm)) or ""
        for word in ("Paper    ", "Formula  ", "Differs  "):
            assert f"\n{word}" in header, (algorithm.name, word)
