"""Makes the sample tables beside this script: `clicks.csv`, with stories planted in it, and a control without any.

    python sample_data/make_samples.py

The same bytes come out every time. `*.truth.json` beside each table says what was planted, in log-odds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from deepfm_core.schema.kinds import Kind  # noqa: E402
from deepfm_core.synthetic.worlds import (  # noqa: E402  # noqa: E402
    Column,
    Effects,
    World,
    assemble,
    one_hot,
    pure_pair,
    pure_three_way,
    standardise,
    zipf_shares,
)

Values = NDArray[np.float64]
Columns = dict[str, Column]

ROWS = 20_000
SEED = 2017
CLICK_RATE = 0.16

SEGMENTS = {
    # share, mean age, favourite interests, hours awake and online
    "student": (0.22, 21, ("gaming", "music", "fashion"), (11, 22)),
    "young professional": (0.2, 29, ("fitness", "travel", "technology"), (8, 20)),
    "commuter": (0.17, 41, ("news", "cars", "finance"), (7, 18)),
    "parent": (0.17, 38, ("cooking", "home", "books"), (10, 21)),
    "night owl": (0.12, 27, ("gaming", "films", "technology"), (1, 23)),
    "retiree": (0.12, 68, ("gardening", "news", "travel"), (9, 15)),
}
INTERESTS = (
    "sport", "music", "travel", "films", "cooking", "technology", "fashion", "gaming", "news", "fitness", "books",
    "home", "cars", "finance", "gardening",
)  # fmt: skip
ADS = {
    # price, and the interest it speaks to
    "running shoes": (89, "sport"), "gym membership": (35, "fitness"), "protein bars": (18, "fitness"),
    "city break": (320, "travel"), "beach holiday": (840, "travel"), "hiking boots": (140, "sport"),
    "wireless headphones": (130, "music"), "concert tickets": (65, "music"), "streaming trial": (9, "films"),
    "cinema pass": (22, "films"), "game console": (450, "gaming"), "puzzle game": (4, "gaming"),
    "smartphone": (690, "technology"), "smart watch": (240, "technology"), "laptop": (980, "technology"),
    "summer dress": (55, "fashion"), "sneakers": (95, "fashion"), "recipe box": (45, "cooking"),
    "coffee machine": (260, "cooking"), "newspaper trial": (5, "news"), "crime novel": (14, "books"),
    "sofa": (760, "home"), "electric car": (1500, "cars"), "savings account": (2, "finance"),
    "garden tools": (70, "gardening"),
}  # fmt: skip
CAMPAIGNS = {"always on": 0.3, "spring sale": 0.2, "newsletter": 0.15, "retargeting": 0.14, "weekend deals": 0.12,
             "brand launch": 0.09}  # fmt: skip
PLACEMENTS = {"feed": 0.28, "story": 0.18, "search results": 0.17, "sidebar": 0.15, "video pre-roll": 0.12,
              "article end": 0.1}  # fmt: skip
DEVICES = {"phone": 0.52, "laptop": 0.22, "tablet": 0.12, "desktop": 0.1, "television": 0.04}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COUNTRIES = ("United States", "United Kingdom", "Germany", "France", "India", "Brazil", "Spain", "Canada", "Italy",
             "Japan", "Mexico", "Poland", "Netherlands", "Sweden", "Australia", "Kenya")  # fmt: skip
SITE_SUBJECTS = ("morning", "evening", "city", "coast", "alpine", "metro", "garden", "planet", "harbour", "signal")
SITE_NOUNS = ("post", "times", "journal", "guide", "forum", "radio")

STORIES = {
    ("device", "placement"): "Stories work on phones, sidebars on big screens, pre-roll on the television.",
    ("ad", "interests"): "People click the ads that speak to one of their interests.",
    ("hour", "user_segment"): "Every segment has hours of its own: night owls after midnight, commuters on the train.",
    ("price", "age"): "What is dear draws older readers and puts off the young; cheap offers the other way round.",
    ("campaign", "weekday"): "Weekend deals work from Friday to Sunday, the newsletter from Tuesday to Thursday.",
}
THREE_WAY = ("device", "weekday", "user_segment")


def main() -> None:
    """Write both tables and their truths."""
    for name, interactions in (("clicks", True), ("clicks_no_interaction", False)):
        world = make_sample(interactions)
        frame = world.frame.rename(columns={"click": "clicked"})
        frame.to_csv(HERE / f"{name}.csv", index=False, lineterminator="\n")
        truth = {"table": f"{name}.csv", "label": "clicked", "rows": ROWS, **world.truth.to_dict()}
        for pair in truth["pairs"]:
            pair["story"] = STORIES[pair["field_a"], pair["field_b"]]
        (HERE / f"{name}.truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


def make_sample(interactions: bool) -> World:
    """Draw the sample; with and without interactions, the fields are the same rows."""
    rng = np.random.default_rng(SEED)
    columns = draw_columns(rng)
    main_effects = draw_main_effects(columns, rng)
    pairs = stories(columns) if interactions else {}
    three = three_way(columns, rng) if interactions else np.zeros(ROWS)
    effects = Effects(main_effects, pairs, THREE_WAY if interactions else (), three)
    return assemble(list(columns.values()), effects, CLICK_RATE, rng)


def draw_columns(rng: np.random.Generator) -> Columns:
    """Draw the fields: age, interests and hour follow the segment; the price follows the ad."""
    shares = np.array([segment[0] for segment in SEGMENTS.values()])
    segment = rng.choice(len(SEGMENTS), size=ROWS, p=shares / shares.sum())
    ad = rng.choice(len(ADS), size=ROWS, p=rng.permutation(zipf_shares(len(ADS), 0.6)))
    age = np.clip(np.round(rng.normal(np.array([s[1] for s in SEGMENTS.values()])[segment], 7.0)), 16, 88)
    list_price = np.array([price for price, _ in ADS.values()], dtype=np.float64)[ad]
    price = np.round(list_price * np.exp(rng.normal(0, 0.25, size=ROWS)), 2)
    drawn = [
        levels("ad", list(ADS), ad),
        from_shares("campaign", CAMPAIGNS, rng),
        from_shares("device", DEVICES, rng),
        from_shares("placement", PLACEMENTS, rng),
        levels("hour", [str(hour) for hour in range(24)], draw_hours(segment, rng)),
        levels("weekday", list(WEEKDAYS), rng.choice(7, size=ROWS, p=[0.14, 0.14, 0.13, 0.14, 0.15, 0.15, 0.15])),
        levels("user_segment", list(SEGMENTS), segment),
        draw_interests(segment, rng),
        levels("country", list(COUNTRIES), rng.choice(16, size=ROWS, p=zipf_shares(16, 0.9))),
        levels("site", SITES, rng.choice(len(SITES), size=ROWS, p=zipf_shares(len(SITES), 0.8))),
        number("price", price.astype(object), np.log(price)),
        number("age", np.where(rng.random(ROWS) < 1 / 30, None, age.astype(np.int64)), age),
    ]
    return {column.name: column for column in drawn}


SITES = [f"{subject}-{noun}.example" for noun in SITE_NOUNS for subject in SITE_SUBJECTS]


def levels(name: str, texts: list[str], codes: NDArray[np.int64]) -> Column:
    """Make a categorical column of (N,) codes into texts."""
    return Column(name, Kind.CATEGORICAL, np.array(texts, dtype=object)[codes], codes.astype(np.int64), one_hot(codes))


def from_shares(name: str, shares: dict[str, float], rng: np.random.Generator) -> Column:
    """Draw a categorical column whose levels have the given shares."""
    weights = np.array(list(shares.values()))
    return levels(name, list(shares), rng.choice(len(shares), size=ROWS, p=weights / weights.sum()))


def number(name: str, cells: NDArray[np.object_], scale: Values) -> Column:
    """Make a numeric column (None is an empty cell); effects are linear in the (N,) `scale`."""
    groups = np.unique(np.quantile(scale, np.linspace(0, 1, 41)[1:-1]))
    codes = np.searchsorted(groups, scale, side="right").astype(np.int64)
    centred = (scale - scale.mean()) / scale.std()
    return Column(name, Kind.NUMERIC, cells, codes, csr_array(centred[:, None]))


def draw_hours(segment: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw an hour per row around the two favourite hours of its segment, with some at any time."""
    favourites = np.array([s[3] for s in SEGMENTS.values()])[segment]
    peak = favourites[np.arange(ROWS), rng.integers(2, size=ROWS)]
    hour = np.round(rng.normal(peak, 3.0)).astype(np.int64) % 24
    anytime = rng.random(ROWS) < 0.35
    return np.where(anytime, rng.integers(7, 24, size=ROWS), hour)


def draw_interests(segment: NDArray[np.int64], rng: np.random.Generator) -> Column:
    """Draw one to four interests a row, those of the segment five times as likely as others."""
    weight = np.ones((len(SEGMENTS), len(INTERESTS)))
    for place, (_, _, favourites, _) in enumerate(SEGMENTS.values()):
        weight[place, [INTERESTS.index(name) for name in favourites]] = 5.0
    scores = rng.random((ROWS, len(INTERESTS))) ** (1 / weight[segment])
    rank = np.argsort(np.argsort(-scores, axis=1), axis=1)
    present = rank < rng.integers(1, 5, size=ROWS)[:, None]
    cells = np.array(["|".join(np.array(INTERESTS)[row]) for row in present], dtype=object)
    features = csr_array(present / present.sum(axis=1, keepdims=True))
    return Column("interests", Kind.MULTI_VALUED, cells, np.full(ROWS, -1, dtype=np.int64), features)


def draw_main_effects(columns: Columns, rng: np.random.Generator) -> dict[str, Values]:
    """Give every field a main effect of 0.15 to 0.5 log-odds; placement and ad have the largest."""
    sd = {"ad": 0.5, "placement": 0.5, "device": 0.4, "campaign": 0.35, "user_segment": 0.35, "site": 0.35,
          "hour": 0.25, "interests": 0.25, "price": 0.3, "age": 0.25, "country": 0.25, "weekday": 0.15}  # fmt: skip
    effects = {}
    for name, column in columns.items():
        slopes = rng.normal(size=column.features.shape[1])
        effects[name] = standardise(column.features @ slopes, sd[name])
    return effects


def stories(columns: Columns) -> dict[tuple[str, str], Values]:
    """Give the planted pairs as pure interactions: what each story adds to a row's logit."""
    raw: dict[tuple[str, str], tuple[Values, float]] = {
        ("device", "placement"): (device_placement(columns), 0.45),
        ("ad", "interests"): (ad_interests(columns), 0.4),
        ("hour", "user_segment"): (hour_segment(columns), 0.4),
        ("price", "age"): (columns["price"].features.toarray()[:, 0] * columns["age"].features.toarray()[:, 0], 0.3),
        ("campaign", "weekday"): (campaign_weekday(columns), 0.25),
    }
    return {(a, b): pure_pair(values, columns[a], columns[b], sd) for (a, b), (values, sd) in raw.items()}


def device_placement(columns: Columns) -> Values:
    """Score a placement by how well its format suits the device."""
    suits = {
        ("phone", "story"): 2.0, ("phone", "feed"): 1.0, ("phone", "sidebar"): -2.0, ("tablet", "article end"): 1.0,
        ("laptop", "sidebar"): 1.5, ("desktop", "sidebar"): 2.0, ("laptop", "story"): -1.5,
        ("desktop", "story"): -2.0, ("desktop", "search results"): 1.0, ("television", "video pre-roll"): 3.0,
        ("television", "search results"): -2.0, ("television", "sidebar"): -1.5,
    }  # fmt: skip
    return by_cells(columns["device"], columns["placement"], lambda d, p: suits.get((d, p), 0.0))


def hour_segment(columns: Columns) -> Values:
    """Score an hour by its distance, around the clock, from the segment's favourite hours."""

    def closeness(hour: str, segment: str) -> float:
        gaps = [min((int(hour) - peak) % 24, (peak - int(hour)) % 24) for peak in SEGMENTS[segment][3]]
        return float(np.exp(-0.5 * (min(gaps) / 2.0) ** 2))

    return by_cells(columns["hour"], columns["user_segment"], closeness)


def campaign_weekday(columns: Columns) -> Values:
    """Score a weekday by the rhythm of the campaign."""
    rhythm = {"weekend deals": WEEKDAYS[4:], "newsletter": WEEKDAYS[1:4], "brand launch": WEEKDAYS[:1]}
    return by_cells(columns["campaign"], columns["weekday"], lambda c, d: float(d in rhythm.get(c, ())))


def by_cells(a: Column, b: Column, score: Callable[[str, str], float]) -> Values:
    """Score every row by its two cells."""
    return np.array([score(x, y) for x, y in zip(a.cells, b.cells, strict=True)], dtype=np.float64)


def ad_interests(columns: Columns) -> Values:
    """Say whether a row's interests hold the one its ad speaks to."""
    topics = [ADS[ad][1] for ad in columns["ad"].cells]
    return np.array([float(t in cell.split("|")) for t, cell in zip(topics, columns["interests"].cells, strict=True)])


def three_way(columns: Columns, rng: np.random.Generator) -> Values:
    """Give every device, weekday and segment together an effect of its own."""
    a, b, c = (columns[name] for name in THREE_WAY)
    table = rng.normal(size=(len(DEVICES), 7, len(SEGMENTS)))
    return pure_three_way(table[a.codes, b.codes, c.codes], (a, b, c), 0.2)


if __name__ == "__main__":
    main()
