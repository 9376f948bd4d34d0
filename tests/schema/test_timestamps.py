"""Points in time in the forms that people and programs write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.schema.timestamps import dated_order, form_of, parse_moments
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table

N = 2000
rng = np.random.default_rng(4)
TIMES = pd.Timestamp("2019-03-01") + pd.to_timedelta(rng.integers(0, 60 * 24 * 60, N), unit="min")
CLICK = (rng.random(N) < 0.3).astype(int)

Write = Callable[[pd.Timestamp], str]


def half(t: pd.Timestamp) -> str:
    return f"{(t.hour % 12) or 12}:{t.minute:02d} {'AM' if t.hour < 12 else 'PM'}"


WRITTEN: dict[str, Write] = {
    "excel, uk": lambda t: f"{t:%d/%m/%y %H:%M}",
    "excel, us": lambda t: f"{t.month}/{t.day}/{t:%y} {half(t)}",
    "excel, de": lambda t: f"{t:%d.%m.%y %H:%M}",
    "oracle": lambda t: f"{t:%d-%b-%y %H:%M:%S}".upper(),
    "two digits first": lambda t: f"{t:%y-%m-%d %H:%M}",
    "a camera": lambda t: f"{t:%Y:%m:%d %H:%M:%S}",
    "chinese": lambda t: f"{t:%Y年%m月%d日 %H:%M}",
    "japanese": lambda t: f"{t:%Y/%m/%d %H時%M分}",
    "french hours": lambda t: f"{t:%d/%m/%Y %Hh%M}",
    "german hours": lambda t: f"{t:%d.%m.%Y %H:%M} Uhr",
    "points between hours and minutes": lambda t: f"{t:%d.%m.%Y %H.%M}",
    "a browser": lambda t: f"{t:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)",
    "a zone in brackets": lambda t: f"{t:%Y-%m-%d %H:%M:%S} (UTC)",
    "spoken": lambda t: f"{t:%b %d, %Y} at {half(t)}",
    "month's name with hyphens": lambda t: f"{t:%b-%d-%Y %H:%M}",
    "digits": lambda t: f"{t:%Y%m%d%H%M}",
    "digits to the hour": lambda t: f"{t:%Y%m%d%H}",
    "digits to the millisecond": lambda t: f"{t:%Y%m%d%H%M%S}008",
    "compact iso": lambda t: f"{t:%Y%m%dT%H%M%SZ}",
    "ctime": lambda t: f"{t:%a %b %e %H:%M:%S %Y}",
    "date": lambda t: f"{t:%a %b %e %H:%M:%S} UTC {t:%Y}",
    "twitter": lambda t: f"{t:%a %b %d %H:%M:%S} +0000 {t:%Y}",
    "apache": lambda t: f"{t:%d/%b/%Y:%H:%M:%S} +0000",
    "hyphen before the hour": lambda t: f"{t:%Y-%m-%d-%H}",
    "hyphens all the way": lambda t: f"{t:%Y-%m-%d-%H-%M-%S}",
    "underscore": lambda t: f"{t:%Y-%m-%d_%H:%M}",
    "mail": lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT",
    "zone's name": lambda t: f"{t:%Y-%m-%d %H:%M:%S} CEST",
    "zone's place": lambda t: f"{t:%Y-%m-%d %H:%M} Europe/Berlin",
    "java": lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+02:00[Europe/Berlin]",
    "seconds": lambda t: f"{t.timestamp():.0f}",
    "milliseconds": lambda t: f"{t.timestamp():.0f}123",
    "nanoseconds": lambda t: f"{t.timestamp():.0f}123456789",
    "nine digits": lambda t: f"{t.timestamp() - 6e8:.0f}",
    "a spreadsheet's days": lambda t: f"{25569 + t.timestamp() / 86400:.10g}",
    "avazu": lambda t: f"{t:%y%m%d%H}",
}


def table_of(texts: list[str], name: str = "timestamp") -> Table:
    return table_from_frame(pd.DataFrame({"place": rng.choice(list("abc"), N), name: texts, "click": CLICK}))


def role_of(texts: list[str], name: str = "timestamp", **how: object) -> FieldRole:
    return infer_schema(table_of(texts, name), "click").role(name)


@pytest.mark.parametrize("how", WRITTEN)
def test_a_point_in_time_is_read_in_every_form(how: str) -> None:
    texts = [WRITTEN[how](t) for t in TIMES]
    role = role_of(texts, "datetime")
    assert (role.kind, role.warning) == (Kind.TIMESTAMP, "")
    moments = parse_moments(pa.array(texts), role.form)
    expected = TIMES - pd.Timedelta(seconds=6e8) if how == "nine digits" else TIMES
    assert (moments.hours == expected.hour).all()
    assert (moments.weekdays == expected.day_of_week).all()


@pytest.mark.parametrize(("text", "hours"), [("CEST", 2), ("+0530", 5.5), ("Z", 0), ("EST", -5), ("Asia/Tokyo", 9)])
def test_a_zone_is_taken_off_for_the_order_of_rows(text: str, hours: float) -> None:
    moments = parse_moments(pa.array([f"2019-04-30 13:05:00 {text}"]), "year-month-day")
    assert moments.hours.tolist() == [13]
    assert (moments.local - moments.instant).tolist() == [3600 * hours]


def test_a_hyphen_before_the_hour_is_no_zone() -> None:
    moments = parse_moments(pa.array(["2019-04-30-13", "2019-04-30-09"]), "year-month-day")
    assert moments.hours.tolist() == [13, 9]
    assert (moments.local == moments.instant).all()


def test_day_and_month_are_told_apart_over_the_whole_column() -> None:
    days = [f"{day:02d}/04/2019" for day in range(1, 13)]
    assert form_of(pa.array(days), "seen") == ("day/month/year", True)
    assert form_of(pa.array([*days, "13/04/2019"]), "seen") == ("day/month/year", False)
    assert form_of(pa.array([*days, "04/13/2019"]), "seen") == ("month/day/year", False)
    assert form_of(pa.array(days), "seen", order="month first") == ("month/day/year", False)
    assert form_of(pa.array(["05.04.2019", "06.05.2019"]), "seen") == ("day/month/year", False)


def test_a_stray_word_among_times_counts_as_missing_and_is_said() -> None:
    texts = [f"{t:%d/%m/%y %H:%M}" for t in TIMES]
    texts[7] = "yesterday"
    role = role_of(texts)
    assert role.kind is Kind.TIMESTAMP
    assert role.warning == "1 cell is no point in time, such as `yesterday`: they count as missing"
    table = table_of(texts)
    encoder = Encoder.fit(table.frame, infer_schema(table, "click"))
    hour = next(field for field in encoder.layout.fields if field.name == "timestamp hour")
    assert encoder.encode(table.frame, subject="t").ids[7, hour.first_slot] == hour.offset
    with pytest.raises(SchemaError, match=r"row 0 .* is not a point in time"):
        encoder.encode(table_of(["soon"] * N).frame, subject="t")


def test_times_of_no_known_form_are_said_to_be_such() -> None:
    role = role_of([f"{t:%Y:%j:%H:%M}" for t in TIMES], "seen")
    assert role.kind is Kind.IGNORE
    assert role.reason.startswith("looks like points in time, such as `2019:")
    assert role.warning == "write all of them as 2019-11-24 13:05 to learn from hour and weekday"


def test_versions_of_programs_are_no_dates() -> None:
    versions = [f"{a}.{b}.{c}" for a, b, c in zip(*(rng.integers(10, 13, N) for _ in range(3)), strict=True)]
    assert role_of(versions, "os_version").kind is Kind.CATEGORICAL


def test_dates_with_points_and_zeros_are_no_versions() -> None:
    assert form_of(pa.array([f"{t:%d.%m.%y}" for t in TIMES]), "x") == ("day/month/yy", False)
    versions = pa.array([f"{a}.{b}.{c}" for a in range(1, 9) for b in range(1, 9) for c in range(10, 20)])
    assert form_of(versions, "x") is None


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["2013.25", "2013.5", "2013.75"], None),  # years with decimals
        (["2013.0", "2013.5"], None),
        (["2024.3", "2024.10"], [202403.0, 202410.0]),
        (["2024-03", "2024-Q4"], [202403.0, 202404.0]),
    ],
)
def test_years_with_decimals_are_numbers_and_no_months(texts: list[str], order: list[float] | None) -> None:
    found = dated_order(pa.array(texts))
    assert (None if found is None else found.tolist()) == order


@pytest.mark.parametrize("name", ["signup_date", "orderdate", "SignupDate", "datetime", "day", "Day", "dt"])
def test_days_of_a_spreadsheet_need_the_name_of_a_date(name: str) -> None:
    texts = [str(25569 + int(t.timestamp() // 86400)) for t in TIMES]
    role = role_of(texts, name)
    assert (role.kind, role.form) == (Kind.TIMESTAMP, "days of a spreadsheet")
    assert role.reason.endswith("enters as day of week")
    assert role_of([str(int(text) // 10) for text in texts], name).kind is not Kind.TIMESTAMP


@pytest.mark.parametrize("name", ["time", "created_at", "updated", "timestamp", "sec_of_day", "candidate", "steps"])
@pytest.mark.parametrize("share", ["", ".25"])
def test_seconds_of_a_day_are_no_days_of_a_spreadsheet(name: str, share: str) -> None:
    texts = [f"{36_000 + 47 * place % 19_000}{share}" for place in range(len(TIMES))]
    assert role_of(texts, name).kind is not Kind.TIMESTAMP
