-- Batches on their way, found without reading those that arrived: a factory's backlog, and what is stuck.

CREATE INDEX batches_unfinished ON batches (factory_id, batch_id) WHERE state IN ('PENDING', 'PROCESSING');
CREATE INDEX batches_anchoring ON batches (updated_at) WHERE state = 'ANCHORING';
