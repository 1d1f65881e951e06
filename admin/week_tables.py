"""The tables of a weekly report: what the PDF and the workbook both show."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from admin.counting import RISKS, VERDICTS
from admin.weeks import WeekFigures

Cell = str | int


class Section(NamedTuple):
    """A table under a heading; `columns` are the headings of its columns."""

    name: str
    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sections(figures: WeekFigures, t: Mapping[str, str]) -> list[Section]:
    """All of them, in the words of `t`: summary, days and risks first, which are plotted."""
    return [_summary(figures, t), _days(figures, t), _risks(figures, t), *_lists(figures, t)]


def _summary(figures: WeekFigures, t: Mapping[str, str]) -> Section:
    now, before = figures.total, figures.before
    rows: list[Sequence[Cell]] = [
        (t[name], now[name], before.get(name, 0)) for name in ("scans", "first_scans", *VERDICTS)
    ]
    rows += [
        (t["batches"], figures.batch_count, ""),
        (t["products_issued"], figures.product_count, ""),
        (t["reports"], sum(count for _, count in figures.reports), ""),
    ]
    return Section("summary", t["summary"], ("", t["this_week"], t["week_before"]), rows)


def _days(figures: WeekFigures, t: Mapping[str, str]) -> Section:
    columns = (t["day"], *(t[verdict] for verdict in VERDICTS))
    rows: list[Sequence[Cell]] = [
        (day.since.date().isoformat(), *(day.counts.get(verdict, 0) for verdict in VERDICTS)) for day in figures.days
    ]
    return Section("days", t["scans_by_day"], columns, rows)


def _risks(figures: WeekFigures, t: Mapping[str, str]) -> Section:
    now = figures.total
    spans = [f"{tens}-{tens + 9 if tens < 90 else 100}" for tens in range(0, 100, 10)]
    rows = [(span, now[risk]) for span, risk in zip(spans, RISKS, strict=True)]
    return Section("risks", t["scans_by_risk"], (t["risk"], t["scans"]), rows)


def _lists(figures: WeekFigures, t: Mapping[str, str]) -> list[Section]:
    anomalies = [
        (
            f"{scan.at:%Y-%m-%d %H:%M}",
            str(scan.product_id),
            t.get(scan.verdict, scan.verdict),
            "" if scan.risk is None else scan.risk,
            t.get(scan.leading_factor or "", scan.leading_factor or ""),
            scan.country,
        )
        for scan in figures.anomalies
    ]
    batches = [
        (batch.name, t.get(batch.state, batch.state), batch.products, f"{batch.created_at:%Y-%m-%d %H:%M}")
        for batch in figures.batches
    ]
    reports = [(t.get(kind, kind), count) for kind, count in figures.reports]
    countries = [(country or t["not_known"], count) for country, count in figures.countries]
    products = [(str(product.product_id), product.scans) for product in figures.products]
    return [
        Section("batches", t["batches"], (t["name"], t["state"], t["products_issued"], t["created"]), batches),
        Section(
            "anomalies",
            t["anomalies"],
            (t["time"], t["product"], t["verdict"], t["risk"], t["factor"], t["country"]),
            anomalies,
        ),
        Section("reports", t["reports"], (t["kind"], t["count"]), reports),
        Section("products", t["products"], (t["product"], t["scans"]), products),
        Section("countries", t["countries"], (t["country"], t["scans"]), countries),
    ]
