"""The documents hold together: every link leads somewhere, and nothing names a machine or a package registry."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")})
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
REQUIRED = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"),
    *("docs/design.md", "docs/errors.md", "docs/operations.md", "docs/clients.md"),
)


def anchors(path: Path) -> set[str]:
    """GitHub's anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", REQUIRED)
def test_document_is_there(name: str) -> None:
    assert len((ROOT / name).read_text()) > 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    broken = []
    for target in LINK.findall(document.read_text()):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert not broken


def test_no_download_address_and_no_path_of_one_machine() -> None:
    pattern = r'"resolved": *"[h]ttp|registry *= *"?[h]ttp|--(extra-)?[i]ndex-url|/[s]imple/'
    exclude = (":!tests/unit/test_docs.py",)
    found = subprocess.run(
        ("git", "grep", "-nIE", pattern, "--", ".", *exclude), cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert not found.stdout
    own = subprocess.run(
        ("git", "grep", "-nIF", f"{ROOT.parent}/", "--", "."), cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert not own.stdout or str(ROOT.parent) == "/"
