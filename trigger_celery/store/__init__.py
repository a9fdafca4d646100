"""How we talk to Redis: connections, scripts, and the two runners. Mechanism only, no semantics.

May import `errors`, `model`, `settings` and `telemetry`; it is the only layer that knows redis-py.
Start reading at `op.py`, the vocabulary of everything above.
"""
