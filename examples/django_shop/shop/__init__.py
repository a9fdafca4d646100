"""The project. Its Celery app is there as soon as Django is."""

from shop.celery import app as celery_app

__all__ = ("celery_app",)
