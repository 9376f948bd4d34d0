"""How many pairs hold, are clear, are unsure, and do not hold, in sentences: for pages, report, card and command line.

The counts are those of the verdicts that single pairs get (`evidence.verdicts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from deepfm_core.evidence.verdicts import (
    DOES_NOT_HOLD,
    NOT_SUPPORTED,
    clear,
    holding,
    right_sized,
    too_strong,
    too_weak,
    unsure,
    verdicts,
)


@dataclass(frozen=True)
class PairCounts:
    """The numbers of pairs of each verdict.

    Attributes:
        pairs: all pairs.
        clear: clear above noise, those that hold among them.
        unsure: clear alone, unsure beside others; not among the clear ones.
        holding: hold on held-out rows; None if these were not asked.
        imagined: the model has more of them than the data supports, and held-out rows, if asked, do not confirm it.
        right, strong, weak: the clear ones by their size in the model; all 0 if there is no model.
    """

    pairs: int
    clear: int
    unsure: int
    holding: int | None
    imagined: int
    right: int
    strong: int
    weak: int

    @classmethod
    def of(cls, pairs: pd.DataFrame) -> PairCounts:
        """Count the pairs of a frame `pairs` that holds evidence; without a model, it has no `learned`."""
        sure, known = clear(pairs), "learned" in pairs and bool(pairs["learned"].notna().any())
        checked = "held_out_z" in pairs and bool(pairs["held_out_z"].notna().any())
        judged = verdicts(pairs) if known else pd.Series("", index=pairs.index)
        sizes = (right_sized(pairs), too_strong(pairs), too_weak(pairs))
        return cls(
            len(pairs),
            int(sure.sum()),
            int(unsure(pairs).sum()),
            int(holding(pairs).sum()) if checked else None,
            int(judged.isin((DOES_NOT_HOLD, NOT_SUPPORTED)).sum()),
            *(int((sure & size).sum()) if known else 0 for size in sizes),
        )

    @property
    def said(self) -> str:
        """Say all of it in plain text: what is sure, the sizes, and what does not hold."""
        none = f"None of the {self.pairs:,} pairs is" if self.pairs > 1 else "The only pair is not"
        sure = self.sure_said.replace("**", "") or f"{none} clear above noise."
        return " ".join(filter(None, (sure, self.sizes_said, self.imagined_said)))

    @property
    def sure_said(self) -> str:
        """Say what holds, then what is clear but not confirmed, then what is unsure; numbers that lead are `**bold**`.

        Empty if there is nothing of the three.
        """
        if not self.clear + self.unsure:
            return ""
        return " ".join(self._one() if self.pairs == 1 else self._many())

    @property
    def briefly(self) -> str:
        """Say the same in one line for a card, such as `2 of 91 pairs hold, 2 more are clear, 5 unsure beside others.`

        Empty for a table of one pair.
        """
        if self.pairs == 1:
            return ""
        held, of = self.holding or 0, f"of {self.pairs:,} pairs"
        said = [f"{held:,} {of} {'holds' if held == 1 else 'hold'}"] if held else []
        if self.clear > held or not held:
            more = self.clear - held
            said.append(f"{more:,} {'more' if held else of} {'is' if more == 1 else 'are'} clear in the data")
        said += [f"{self.unsure:,} unsure beside others"] if self.unsure else []
        none = "No pair holds on held-out rows. " if self.holding == 0 else ""
        return f"{none}{', '.join(said)}."

    def _one(self) -> Iterator[str]:
        if not self.clear:
            yield "The **one** pair passes the test against noise, but its interval reaches down to zero."
        elif self.holding is None:
            yield "The **one** pair is clear above noise in the data."
        else:
            how = "and holds" if self.holding else "but does not hold"
            yield f"The **one** pair is clear above noise in the data, {how} on held-out rows."

    def _many(self) -> Iterator[str]:
        held, of = self.holding or 0, f"of {self.pairs:,}"
        if held:
            also = ", all that are clear in the data" if held == self.clear else ""
            yield f"**{held:,} {of}** pairs {'holds' if held == 1 else 'hold'} on held-out rows{also}."
        elif self.holding == 0:
            yield "**No pair holds on held-out rows.**"
        if self.clear > held:
            yield self._unconfirmed(self.clear - held, of)
        elif not self.clear:
            yield f"None {of} pairs is clear above noise beside the others."
        if self.unsure:
            yield f"{self.unsure:,} {'is' if self.unsure == 1 else 'are'} clear alone, but unsure beside others."

    def _unconfirmed(self, count: int, of: str) -> str:
        are, them = ("is", "it") if count == 1 else ("are", "them")
        if self.holding is None:
            return f"**{count:,} {of}** pairs {are} clear above noise in the data."
        which = f"{count:,} more {are}" if self.holding else f"{count:,} {of} {are}"
        return f"{which} clear in the data, but held-out rows do not confirm {them}."

    @property
    def imagined_said(self) -> str:
        """Say how many pairs the model has that nothing supports; empty if there are none."""
        count = self.imagined
        if not count:
            return ""
        what = "1 pair that does" if count == 1 else f"{count:,} pairs that do"
        where = "not hold" if self.holding is not None else "not hold in the data"
        return f"The model also has {what} {where}."

    @property
    def sizes_said(self) -> str:
        """Say of how many clear pairs the model has the size right, within a factor of two; empty if none is clear.

        Until held-out rows were asked, it is open whether the model has too much of a pair.
        """
        if not self.right + self.strong + self.weak:
            return ""
        right = (
            "about right (within a factor of two)"
            if self.holding is not None
            else "at least half as strong as the data"
        )
        if self.clear == 1:
            how = right if self.right else "too strong" if self.strong else "too weak"
            return f"In the model it is {how}." if self.pairs == 1 else f"In the model the clear one is {how}."
        counts = ((self.right, right), (self.strong, "too strong"), (self.weak, "too weak"))
        said = [f"{count:,} {how}" for count, how in counts if count]
        if len(said) == 1:
            return f"Of the {self.clear:,} clear ones, the model has all {said[0].partition(' ')[2]}."
        return f"Of the {self.clear:,} clear ones, the model has {', '.join(said)}."
