"""The table of orders."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes the table."""

    initial = True
    dependencies = []  # noqa: RUF012 - as Django writes migrations
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False, auto_created=True)),
                ("customer", models.CharField(max_length=100)),
                ("status", models.CharField(max_length=20, default="placed")),
                ("run", models.CharField(max_length=40, blank=True)),
            ],
        )
    ]
