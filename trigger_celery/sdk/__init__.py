"""The public namespaces, one module each, named as in Trigger.dev.

May import `bridge` and below. Start reading at `task.py` and `tasks.py`.
"""
