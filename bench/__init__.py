"""Benchmarks: trigger_celery and plain Celery side by side, in one run on one server."""
