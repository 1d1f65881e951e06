"""The page behind a code: one HTML document with its styles and its script in it."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scan.card import ANCHORED, REFUSED, Card
from scan.language import Language
from scan.verdict import Outcome, Verdict
from scan.verify import Answer
from trust.token import fold

TEMPLATES = Path(__file__).parent / "templates"
WEB = Path(__file__).resolve().parents[1] / "web"
STEPS = (
    ("product_in_batch", "PASSED", "passed"),
    ("product_in_batch", "FAILED", "failed"),
    ("batch_in_anchor", "PASSED", "passed"),
    ("batch_in_anchor", "FAILED", "failed"),
    ("batch_in_anchor", "NOT_CHECKED", "not_checked"),
    ("anchor_on_chain", "PASSED", "passed"),
    ("anchor_on_chain", "FAILED", "failed"),
    ("anchor_on_chain", "NOT_CHECKED", "not_checked"),
    ("evidence", "PASSED", "passed"),
    ("evidence", "FAILED", "failed"),
    ("evidence", "NOT_CHECKED", "not_checked"),
)
"""What web/check.mjs can say of a receipt: the step, its outcome, and how the page marks it."""
ICONS = (
    ("genuine", "M5 12.5l4.5 5L19 7"),
    ("passed", "M5 12.5l4.5 5L19 7"),
    ("suspicious", "M12 5.5v8M12 18v.1"),
    ("likely_copy", "M12 5.5v8M12 18v.1"),
    ("blocked", "M6.5 6.5l11 11M17.5 6.5l-11 11"),
    ("failed", "M6.5 6.5l11 11M17.5 6.5l-11 11"),
    ("not_checked", "M6 12h12"),
    ("download", "M12 4v11m-5-4.5l5 5 5-5M5 20h14"),
    ("unknown", "M8.8 9.2a3.3 3.3 0 1 1 4.6 3c-.9.4-1.4 1-1.4 2v.3M12 18.4v.1"),
    ("malformed", "M8.8 9.2a3.3 3.3 0 1 1 4.6 3c-.9.4-1.4 1-1.4 2v.3M12 18.4v.1"),
)
"""Lines on a ground of 24 by 24, by what they stand for."""
SUSPECTED = frozenset({Verdict.SUSPICIOUS, Verdict.LIKELY_COPY, Verdict.BLOCKED})
FACES = {f"VERDICT_{verdict.name}": verdict.value for verdict in Verdict}
"""How the contract's JSON names what the page calls by a face."""
HARMLESS = (".ordinary", ".possible", ".inside", ".none", ".not_checked")
"""How the texts of factors end that found nothing."""
REPORTABLE = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
"""What the contract takes for the code of a report."""
KINDS = ("LOOKS_FAKE", "BOUGHT_FROM_STRANGER", "PACK_DIFFERS", "OTHER")
PHOTOS = "image/jpeg,image/png,image/webp,image/heic,image/avif"
IMPORT = re.compile(r"^import .*\n", re.MULTILINE)
NAMED = ("name", "gtin", "market")
BUILT = frozenset({"ANCHORING", ANCHORED})
GROUP = 5
SHOWN_CHARACTERS = 60


class Page:
    """Writes the page of a code in a language; `policy` is the Content-Security-Policy that it needs."""

    def __init__(self, templates: Path = TEMPLATES) -> None:
        loader = FileSystemLoader(templates)
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._template = environment.get_template("page.html")
        self._style = (templates / "page.css").read_text(encoding="utf-8")
        self._script = "".join((WEB / name).read_text(encoding="utf-8") for name in ("scan.mjs", "report.mjs"))
        self._check = one_script(WEB)
        self.policy = (
            f"default-src 'none'; style-src {_source(self._style)}; "
            f"script-src {_source(self._script)} {_source(self._check)}; img-src data:; "
            # Readers name the node that their browser asks.
            "connect-src 'self' https: http://localhost:* http://127.0.0.1:*; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def write(self, text: str, answer: Answer | None, language: Language) -> bytes:
        """The page of what was found under `text`, in UTF-8; without an answer the text is no code."""
        code = fold(text)
        face = answer.judgement.verdict.value if answer else "malformed"
        card = answer.card if answer else None
        groups = [code[start : start + GROUP] for start in range(0, len(code), GROUP)]
        html = self._template.render(
            t=language.texts,
            language=language,
            face=face,
            answer=answer,
            card=card,
            attributes=_attributes(card, language) if card else (),
            checks=_checks(answer) if answer else (),
            found=_found(answer, language) if answer else (),
            groups=groups if answer else [_shortened(text)],
            receipt=f"/api/receipt/{code}" if card and card.batch_state in BUILT else None,
            withdrawn=card is not None and card.batch_state in REFUSED,
            steps=STEPS,
            icons=ICONS,
            told=_told(code, face, answer, language) if answer else None,
            kinds=KINDS,
            photos=PHOTOS,
            reportable=code if answer else text if REPORTABLE.fullmatch(text) else "",
            style=Markup(self._style),  # noqa: S704 - our own file
            script=Markup(self._script),  # noqa: S704 - our own files
            check=Markup(self._check),  # noqa: S704 - our own files
        )
        return html.encode()


def one_script(folder: Path) -> str:
    """The verifier and what the page does with it, as one module that imports nothing: the page is one request."""
    verifier = (folder / "receipt.mjs").read_text(encoding="utf-8")
    check = (folder / "check.mjs").read_text(encoding="utf-8")
    return verifier.replace("\nexport ", "\n") + IMPORT.sub("", check)


def _source(text: str) -> str:
    """A source of a Content-Security-Policy: this very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _attributes(card: Card, language: Language) -> list[tuple[str, str]]:
    """Label and value: what every product has first, then whatever else its factory wrote."""
    named = [(language.texts[f"product.{key}"], card.attributes[key]) for key in NAMED if key in card.attributes]
    others = [(key.replace("_", " ").capitalize(), card.attributes[key]) for key in card.attributes if key not in NAMED]
    return [*named, (language.texts["product.factory"], card.factory_name), *others]


def _found(answer: Answer, language: Language) -> list[str]:
    """What speaks against the code, in words; nothing where the verdict is that nothing does."""
    if answer.assessment is None or answer.judgement.verdict not in SUSPECTED:
        return []
    return [
        language.texts[f"risk.{factor.name.value}.{factor.code}"].format(**dict(factor.evidence))
        for factor in answer.assessment.factors
        if factor.score
    ]


def _told(code: str, face: str, answer: Answer, language: Language) -> dict[str, Any]:
    """What web/scan.mjs needs to say what the scan's answer says."""
    wanted = ("verdict.", "checks.", "history.one", "history.other", "risk.", "date")
    return {
        "code": code,
        "face": face,
        "faces": FACES,
        "suspected": sorted(verdict.value for verdict in SUSPECTED),
        "card": answer.card is not None,
        "count": answer.history.scans if answer.history else 0,
        "months": language.months,
        "texts": {
            key: text
            for key, text in language.texts.items()
            if key.startswith(wanted) and not (key.startswith("risk.") and key.endswith(HARMLESS))
        },
    }


def _checks(answer: Answer) -> list[tuple[str, str]]:
    checks = answer.judgement.checks
    outcomes: dict[str, Outcome] = {
        "tag": checks.tag,
        "product": checks.product,
        "scan_history": checks.scan_history,
        "anchor": checks.anchor,
    }
    return [(name, outcome.value) for name, outcome in outcomes.items()]
