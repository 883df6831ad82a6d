"""The outbox: every event and every attempt, on disk.

`contract` says what it promises, in parts by who uses them, and `values` what goes in and out. `sqlite` keeps it in a
file, `mysql` in a schema that relays share; `sql*` is what both have in common, `migrations` makes the tables.
"""
