-- name: show_tenant(tenant)!
-- From here on the connection shows this factory's rows, or with * everybody's; see is_shown in migration 0008.
SELECT set_config('voketag.tenant', :tenant, false);
