"""`python -m trigger_celery.cli` is `trigger-celery`."""

from trigger_celery.cli.main import main

main()
