"""What a person writes: the YAML of a scenario, its sections and their checks, its JSON Schema,
and the export of a session as a scenario.

Not here: running it (`engine`), the run directory it is copied to (`record`).
"""
