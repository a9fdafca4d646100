"""Calls of Celery tasks that make runs instead of messages, with the code of the task as it is."""
