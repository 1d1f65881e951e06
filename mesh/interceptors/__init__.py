"""The steps around every call, outermost first.

Telemetry, errors, refusals, deadline, access, limits, validation, audit.
"""
