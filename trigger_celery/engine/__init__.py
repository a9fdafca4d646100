"""What a run may do: operations in Python, transitions in Lua.

May import `store` and everything below it, never Celery. Start reading at `keys.py`, then
`lua/create_runs.lua` and `triggering.py`.
"""
