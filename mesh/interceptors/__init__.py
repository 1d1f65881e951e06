"""The steps around every call, outermost first: telemetry, errors, deadline, access, limits, validation, audit."""
