from celery import shared_task
from django.db import transaction
from django.db.models import F, Sum

from catalog.models import Book


@shared_task
def add_book(title, copies=1):
    return Book.objects.create(title=title, copies=copies).pk


@shared_task
def count_copies(*_):
    return Book.objects.aggregate(total=Sum("copies"))["total"]


@shared_task(bind=True, autoretry_for=(Book.DoesNotExist,), max_retries=1, default_retry_delay=0)
def rename_book(self, book, title):
    with transaction.atomic():
        found = Book.objects.select_for_update().get(pk=book)
        found.title = title
        found.save(update_fields=["title"])
    return found.title


@shared_task(ignore_result=True)
def restock(title, copies):
    Book.objects.filter(title=title).update(copies=F("copies") + copies)
