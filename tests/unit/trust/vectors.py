"""Loads the JSON vectors of tests/vectors."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[2] / "vectors"


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def named(cases: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Key the cases by name, for readable test ids."""
    by_name = {case["name"]: case for case in cases}
    assert len(by_name) == len(cases), "two vectors have one name"
    return by_name


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]
