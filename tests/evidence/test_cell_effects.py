"""What the data shows in the cells of a pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.evidence.cell_effects import observed_effects

EFFECTS = np.array([[0.6, -0.3], [-0.2, 0.1]])


def cells(learned: float = 0.0, rows: int = 200_000, additive: float = 0.0) -> pd.DataFrame:
    """Give cells of a world whose clicks are exactly as expected; the model has learned a share of the effects."""
    pure = EFFECTS - EFFECTS.mean(0) - EFFECTS.mean(1, keepdims=True) + EFFECTS.mean()
    main = -1.5 + np.array([[additive], [-additive]])
    true, model = (1 / (1 + np.exp(-logit)) for logit in (main + pure, -1.5 + learned * pure))
    frame = pd.DataFrame([(a, b) for a in ("x", "y") for b in ("u", "v")], columns=["level_a", "level_b"])
    return frame.assign(
        rows=rows, clicks=(rows * true).ravel(), expected=(rows * model).ravel(), learned=(learned * pure).ravel()
    ).assign(true=pure.ravel())


@pytest.mark.parametrize("learned", [0.0, 0.5, 1.0])
def test_with_many_rows_the_true_effects_are_observed_whatever_the_model_learned(learned: float) -> None:
    given = cells(learned)
    assert observed_effects(given, sd=0.5) == pytest.approx(given["true"].to_numpy(), abs=0.03)


def test_what_the_two_fields_do_alone_is_not_observed_as_their_interaction() -> None:
    assert observed_effects(cells(1.0, additive=0.1), sd=0.5) == pytest.approx(cells()["true"].to_numpy(), abs=0.03)


def test_cells_of_few_rows_say_little_and_those_of_an_unsupported_pair_next_to_nothing() -> None:
    many, few = observed_effects(cells(rows=10_000), sd=0.3), observed_effects(cells(rows=20), sd=0.3)
    assert np.abs(few).max() < 0.4 * np.abs(many).max()
    assert np.abs(observed_effects(cells(rows=200), sd=0.0)).max() < 0.1 * np.abs(EFFECTS).max()
