"""What every service stands on: server, interceptors, access, errors, config, database, jobs, telemetry, clock."""
