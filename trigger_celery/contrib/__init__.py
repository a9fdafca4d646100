"""What web frameworks get: `trigger_celery.contrib.django` and `trigger_celery.contrib.flask`."""
