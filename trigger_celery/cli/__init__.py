"""The command line: `trigger-celery …`, and `celery -A proj trigger …`.

May import everything below. Start reading at `main.py`; one module a command or group of commands.
"""
