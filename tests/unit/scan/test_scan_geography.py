"""Where scans come from: what the edge says, and what a database of cities says."""

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from scan.geography import FromDatabase, FromEdge, Nowhere, read_place
from scan.sessions import Place, place_at

SAO_PAULO = place_at("BR", -23.55, -46.63, 0)
CITIES: dict[str, Any] = {
    "198.51.100.0/24": {
        "country": {"iso_code": "BR"},
        "location": {"latitude": -23.55, "longitude": -46.63, "accuracy_radius": 20},
    },
    "203.0.113.0/24": {
        "country": {"iso_code": "PT"},
        "location": {"latitude": 38.72, "longitude": -9.14, "accuracy_radius": 1000},
    },
    "192.0.2.0/24": {"country": {"iso_code": "US"}},
    "2001:db8::/32": {"continent": {"code": "EU"}},
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> FromDatabase:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City")
    for network, record in CITIES.items():
        writer.insert_network(IPSet([network]), record)
    path = tmp_path_factory.mktemp("places") / "cities.mmdb"
    writer.to_db_file(str(path))
    return FromDatabase(path)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("198.51.100.7", SAO_PAULO),
        ("203.0.113.7", Place("PT", 0)),
        ("192.0.2.7", Place("US", 0)),
        ("2001:db8::7", None),
        ("10.1.2.3", None),
        ("no address", None),
        ("", None),
    ],
)
def test_addresses_are_looked_up(database: FromDatabase, address: str, place: Place | None) -> None:
    assert database.place(address, {"x-client-place": "US"}) == place


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cities.mmdb").write_bytes(b"no database" * 1000)
    for name in ("cities.mmdb", "missing.mmdb"):
        with pytest.raises(ValueError, match="no database of places"):
            FromDatabase(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("BR", Place("BR", 0)),
        ("BR,-23.55,-46.63", SAO_PAULO),
        ("BR,-23,-46", place_at("BR", -23, -46, 0)),
        ("US,90,180", place_at("US", 90, 180, 0)),
        ("", None),
        ("br", None),
        ("BRA", None),
        ("BR,", None),
        ("BR,91,0", None),
        ("BR,0,181", None),
        ("BR,0", None),
        ("BR,1e1,0", None),
        ("BR,nan,0", None),
        ("BR\n", None),
        ("ＢＲ", None),
    ],
)
def test_the_edge_is_read_strictly(text: str, place: Place | None) -> None:
    assert read_place(text) == place
    assert FromEdge().place("198.51.100.7", {"x-client-place": text}) == place


def test_nowhere_knows_nothing() -> None:
    assert Nowhere().place("198.51.100.7", {"x-client-place": "BR"}) is None
    assert FromEdge().place("198.51.100.7", {}) is None
