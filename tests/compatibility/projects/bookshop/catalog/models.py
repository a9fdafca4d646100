from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=100)
    copies = models.PositiveIntegerField(default=0)

    class Meta:
        app_label = "catalog"

    def __str__(self):
        return self.title
