"""The words of weekly reports, by language."""

from collections.abc import Mapping

LANGUAGES = ("en", "pt-BR", "es")

_WORDS: Mapping[str, tuple[str, str, str]] = {
    "title": ("Weekly report", "Relatório semanal", "Informe semanal"),
    "summary": ("Summary", "Resumo", "Resumen"),
    "this_week": ("This week", "Esta semana", "Esta semana"),
    "week_before": ("The week before", "A semana anterior", "La semana anterior"),
    "scans": ("Scans", "Leituras", "Lecturas"),
    "first_scans": ("First scans", "Primeiras leituras", "Primeras lecturas"),
    "genuine": ("Genuine code", "Código genuíno", "Código genuino"),
    "suspicious": ("Suspicious", "Suspeito", "Sospechoso"),
    "likely_copy": ("Likely a copy", "Provável cópia", "Probable copia"),
    "blocked": ("Blocked", "Bloqueado", "Bloqueado"),
    "unknown": ("Unknown code", "Código desconhecido", "Código desconocido"),
    "batches": ("Batches", "Lotes", "Lotes"),
    "products_issued": ("Products issued", "Produtos emitidos", "Productos emitidos"),
    "reports": ("Reports of fraud", "Denúncias de fraude", "Denuncias de fraude"),
    "scans_by_day": ("Scans by day (UTC)", "Leituras por dia (UTC)", "Lecturas por día (UTC)"),
    "scans_by_risk": ("Scans by risk", "Leituras por risco", "Lecturas por riesgo"),
    "anomalies": ("Anomalies", "Anomalias", "Anomalías"),
    "countries": ("Countries", "Países", "Países"),
    "products": ("Products scanned most", "Produtos mais lidos", "Productos más leídos"),
    "day": ("Day", "Dia", "Día"),
    "risk": ("Risk", "Risco", "Riesgo"),
    "name": ("Name", "Nome", "Nombre"),
    "state": ("State", "Estado", "Estado"),
    "created": ("Made", "Criado", "Creado"),
    "time": ("Time (UTC)", "Hora (UTC)", "Hora (UTC)"),
    "product": ("Product", "Produto", "Producto"),
    "verdict": ("Verdict", "Veredito", "Veredicto"),
    "factor": ("Factor", "Fator", "Factor"),
    "country": ("Country", "País", "País"),
    "kind": ("Kind", "Tipo", "Tipo"),
    "count": ("Count", "Quantidade", "Cantidad"),
    "none": ("None.", "Nenhum.", "Ninguno."),
    "not_known": ("not known", "desconhecido", "desconocido"),
    "counted_until": ("Scans are counted until", "Leituras contadas até", "Lecturas contadas hasta"),
    "GENUINE_CODE": ("Genuine code", "Código genuíno", "Código genuino"),
    "SUSPICIOUS": ("Suspicious", "Suspeito", "Sospechoso"),
    "LIKELY_COPY": ("Likely a copy", "Provável cópia", "Probable copia"),
    "BLOCKED": ("Blocked", "Bloqueado", "Bloqueado"),
    "UNKNOWN_CODE": ("Unknown code", "Código desconhecido", "Código desconocido"),
    "COPIES": ("copies", "cópias", "copias"),
    "DEVICES": ("devices", "dispositivos", "dispositivos"),
    "TRAVEL": ("impossible travel", "viagem impossível", "viaje imposible"),
    "MARKET": ("another market", "outro mercado", "otro mercado"),
    "VELOCITY": ("many scans at once", "muitas leituras seguidas", "muchas lecturas seguidas"),
    "LIFECYCLE": ("state of the product", "estado do produto", "estado del producto"),
    "REPORTS": ("reports", "denúncias", "denuncias"),
    "LOOKS_FAKE": ("Looks fake", "Parece falso", "Parece falso"),
    "BOUGHT_FROM_STRANGER": ("Bought from a stranger", "Comprado de um desconhecido", "Comprado a un desconocido"),
    "PACK_DIFFERS": ("The pack differs", "A embalagem é diferente", "El envase es distinto"),
    "OTHER": ("Other", "Outro", "Otro"),
    "RECEIVING": ("Receiving", "Recebendo", "Recibiendo"),
    "PENDING": ("Pending", "Pendente", "Pendiente"),
    "PROCESSING": ("Processing", "Processando", "Procesando"),
    "ANCHORING": ("Anchoring", "Ancorando", "Anclando"),
    "COMPLETED": ("Completed", "Concluído", "Completado"),
    "FAILED": ("Failed", "Falhou", "Fallido"),
    "CANCELLED": ("Cancelled", "Cancelado", "Cancelado"),
}


def texts(language: str) -> Mapping[str, str]:
    """The words in a language, one of LANGUAGES."""
    place = LANGUAGES.index(language)
    return {name: words[place] for name, words in _WORDS.items()}
