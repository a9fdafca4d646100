"""Orders, which runs fulfil."""

from django.db import models


class Order(models.Model):
    """An order of a customer, and the run that fulfils it."""

    customer = models.CharField(max_length=100)
    status = models.CharField(max_length=20, default="placed")
    run = models.CharField(max_length=40, blank=True)
