"""The worker side of Celery: takes runs from the run queue and executes them in the worker's pool.

May import `sdk` and below; not `server` or `scheduler`. Start reading at `bootsteps.py`.
"""
