"""What we change of PgQueuer's statements, which are otherwise its own.

Attempts are counted at pick-up and kept in the job's row: `history` is a JSON array of what happened, oldest first and
at most the last 50 of it, each with its `number` among the attempts. An attempt that began and never ended killed its
worker. Paused queues give no job. A cancelled job stays as a row, like one on hold.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from pgqueuer.adapters.persistence import qb
from pgqueuer.adapters.persistence.composer import ComposedQuery
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.models import Job as PickedJob
from pgqueuer.domain.models import TracebackRecord

from mesh.database import GONE

KEPT_ATTEMPTS = 50
CANCELLED_BY = "cancelled_by"
"""The header of a job that says who wants it cancelled."""
INSTALL = """
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS job_id uuid NOT NULL DEFAULT uuidv7();
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS history jsonb NOT NULL DEFAULT '[]';
CREATE UNIQUE INDEX IF NOT EXISTS job_id_key ON {table} (job_id);
CREATE TABLE IF NOT EXISTS {schema}.job_queues (
  name text PRIMARY KEY,
  paused_at timestamptz,
  paused_by text
);
CREATE TABLE IF NOT EXISTS {schema}.job_tallies (
  hour timestamptz NOT NULL,
  name text NOT NULL,
  outcome text NOT NULL,
  error text NOT NULL,
  count bigint NOT NULL,
  last_at timestamptz NOT NULL,
  PRIMARY KEY (hour, name, outcome, error)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.job_queues, {schema}.job_tallies TO {role}
"""
"""What the queue has beside PgQueuer's tables; `job_id` stays when a retry gives a job another `id`."""

_BEGIN = f"""attempts = attempts + 1,
history = (CASE WHEN jsonb_array_length(history) >= {KEPT_ATTEMPTS} THEN history - 0 ELSE history END)
  || jsonb_build_object('number', coalesce((history -> -1 ->> 'number')::int, 0) + 1, 'began', now()),"""
_ENDED = "jsonb_set(jsonb_set(history, '{{-1,ended}}', to_jsonb(now())), '{{-1,error}}', to_jsonb({error}))"


_UNPAUSED = "ARRAY(SELECT unnest($1::text[]) EXCEPT SELECT name FROM {schema}.job_queues WHERE paused_at IS NOT NULL)"
_OFFERED = """
SELECT named AS entrypoint FROM unnest($2::text[]) AS named
WHERE NOT EXISTS (SELECT FROM {schema}.job_queues WHERE paused_at IS NOT NULL AND name = named)"""
_KEPT = """), held AS (
UPDATE {table} job
SET status = CASE WHEN js.status = 'failed' OR job.headers ? '{header}' THEN js.status ELSE 'queued' END,
    history = {history}, updated = NOW(), queue_manager_id = NULL
FROM job_status js WHERE js.id = job.id AND js.status IN ('failed', 'canceled')
RETURNING job.id, job.entrypoint, job.priority
"""


class Statements(qb.QueryQueueBuilder):
    """PgQueuer's statements, with attempts counted at pick-up, and taken from the job when a retry is asked for."""

    def build_dequeue_query(self, **parameters: Any) -> ComposedQuery:
        """Picks up jobs of queues that are not paused."""
        query = super().build_dequeue_query(**parameters)
        sql = _replaced(query.sql, "SET status = 'picked',", f"SET status = 'picked',\n{_BEGIN}")
        sql = _replaced(sql, "SELECT UNNEST($2::text[]) AS entrypoint", self._of_schema(_OFFERED))
        found = "stale.entrypoint IN (SELECT entrypoint FROM available)"
        return ComposedQuery(_replaced(sql, "stale.entrypoint = ANY($2)", found), query.args)

    def build_has_queued_work(self) -> str:
        """Of queues that are not paused, or a paused one would be asked over and over."""
        return _replaced(super().build_has_queued_work(), "= ANY($1)", f"= ANY({self._of_schema(_UNPAUSED)})")

    def build_has_eligible_queued_work(self) -> str:
        """See build_has_queued_work."""
        found = super().build_has_eligible_queued_work()
        return _replaced(found, "= ANY($1)", f"= ANY({self._of_schema(_UNPAUSED)})")

    def build_retry_job_query(self) -> str:
        """$4 are the attempts used up; $5 the error of the last one, NULL when it does not count."""
        # A new number, and so the place behind those of its priority that wait already.
        number = f"id = nextval(pg_get_serial_sequence('{self.qualified.queue_table}', 'id')), attempts = $4,"
        history = f"CASE WHEN $5::text IS NULL THEN history - -1 ELSE {_ENDED.format(error='$5::text')} END"
        return _replaced(super().build_retry_job_query(), "attempts = attempts + 1,", f"{number} history = {history},")

    def build_log_job_query(self) -> str:
        """Jobs given up and cancelled stay; one whose task was cut off, and that nobody cancelled, is done again."""
        sql = super().build_log_job_query()
        start, end = sql.index("), held AS ("), sql.index("), all_resolved AS (")
        history = _ENDED.format(error="coalesce(js.traceback ->> 'exception_message', 'cancelled')")
        held = _KEPT.format(table=self.qualified.queue_table, header=CANCELLED_BY, history=history)
        ended = "js.status NOT IN ('failed', 'canceled')"
        return _replaced(sql[:start] + held + sql[end:], "js.status != 'failed'", ended)

    def _of_schema(self, sql: str) -> str:
        return sql.format(schema=self.settings.db_schema)


class JobQueries(Queries):
    """PgQueuer's operations, where a retry that cannot be written leaves the job to be taken over, not on hold."""

    errors: dict[int, str]
    """What the attempts under way failed by, until that is written."""

    async def retry_job(self, job: PickedJob, delay: timedelta, traceback_record: TracebackRecord | None) -> None:
        """See Queries; the trace is in our own log, and long."""
        del traceback_record
        error = self.errors.pop(job.id, None)
        with suppress(*GONE):
            await self.driver.execute(self.qbq.build_retry_job_query(), job.id, delay, None, job.attempts, error)


def _replaced(sql: str, found: str, other: str) -> str:
    if sql.count(found) == 0:
        raise RuntimeError(f"this version of pgqueuer does not say {found!r}")
    return sql.replace(found, other)
