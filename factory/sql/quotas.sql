-- name: charge(factory_id, day, usual, needed, wanted)$
-- What is granted of :wanted, at least :needed, in one statement, so that the same rest is granted once; NULL when less
-- is left, or the factory is suspended. Beyond what is needed no more than a tenth of the rest, so that imports side by side share the end of it.
WITH quota AS (
  SELECT coalesce(products_a_day, :usual::bigint) AS daily FROM factories
  WHERE factory_id = :factory_id AND state = 'active'
)
INSERT INTO usage AS spent (factory_id, day, charged)
SELECT :factory_id, :day, least(:wanted::bigint, greatest(:needed::bigint, daily / 10)) FROM quota
WHERE daily >= :needed::bigint
ON CONFLICT (factory_id, day) DO UPDATE
SET charged = spent.charged
  + least(:wanted::bigint, greatest(:needed::bigint, ((SELECT daily FROM quota) - spent.charged) / 10))
WHERE (SELECT daily FROM quota) - spent.charged >= :needed::bigint
RETURNING new.charged - coalesce(old.charged, 0);

-- name: give_back(unused, factory_id, day)!
-- To the day that it was taken from.
UPDATE usage SET charged = charged - :unused WHERE factory_id = :factory_id AND day = :day;

-- name: select_usage(day, products_a_day, concurrent_imports, factory_id)^
-- What is allowed and what is used; the account's own quota goes before what everybody has.
SELECT coalesce(factory.products_a_day, :products_a_day::bigint) AS products_a_day,
       coalesce(factory.concurrent_imports, :concurrent_imports::integer) AS concurrent_imports,
       coalesce(spent.charged, 0) AS charged, factory.state
FROM factories factory
LEFT JOIN usage spent ON spent.factory_id = factory.factory_id AND spent.day = :day
WHERE factory.factory_id = :factory_id;

-- name: lock_quota(factory_id)^
-- What the account has of its own, for the audit to say what it was.
SELECT products_a_day, concurrent_imports FROM factories WHERE factory_id = :factory_id FOR UPDATE;

-- name: set_quota(products_a_day, concurrent_imports, factory_id)!
-- NULL is what everybody has.
UPDATE factories SET products_a_day = :products_a_day, concurrent_imports = :concurrent_imports
WHERE factory_id = :factory_id;
