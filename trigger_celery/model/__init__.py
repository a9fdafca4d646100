"""Values and the rules that hold for them: runs, statuses, retries, durations, ids, packets.

Imports only the standard library and `errors`; reads no clock but for the ids, and does no I/O.
Start reading at `run.py` and `transitions.py`.
"""
