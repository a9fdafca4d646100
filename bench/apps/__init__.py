"""The Celery apps that the benchmarks start workers of."""
