"""Does what views would do, and prints what came of it."""

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
django.setup()

from bookshop import celery_app  # noqa: E402
from celery import chain, chord  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

PATIENCE = 60


def main():
    call_command("migrate", run_syncdb=True, verbosity=0)
    from catalog.models import Book
    from catalog.tasks import add_book, count_copies, rename_book, restock

    Book.objects.all().delete()
    left = [
        add_book.apply_async((f"left {number}",), queue=os.environ["LATER"]).id
        for number in range(2)
    ]
    for one in os.environ["LEFT"].split():
        celery_app.AsyncResult(one).get(timeout=PATIENCE)
    found = Book.objects.filter(title__startswith="left").order_by("title")
    results = {"what was left": [book.title for book in found]}
    found.delete()

    first = add_book.delay("Dune", copies=2).get(timeout=PATIENCE)
    sent = []
    with transaction.atomic():
        second = Book.objects.create(title="Solaris", copies=1)
        transaction.on_commit(lambda: sent.append(rename_book.delay(second.pk, "Solyaris")))
    renamed = sent[0].get(timeout=PATIENCE)
    gone = rename_book.delay(0, "nothing")
    flow = chain(add_book.si("Ubik", copies=4), count_copies.s())().get(timeout=PATIENCE)
    total = chord([add_book.s("A", 1), add_book.s("B", 1)])(count_copies.s())
    results |= {
        "a row": Book.objects.get(pk=first).title,
        "renamed": [renamed, Book.objects.get(pk=second.pk).title],
        "in a chain": flow,
        "in a chord": total.get(timeout=PATIENCE),
        "not there": [repr(gone.get(timeout=PATIENCE, propagate=False)), gone.state],
        "tasks": sorted(name for name in celery_app.tasks if not name.startswith("celery.")),
    }
    silent = restock.delay("Dune", 10)
    results["after it"] = rename_book.delay(first, "Dune").get(timeout=PATIENCE)
    results["no result"] = [silent.state, Book.objects.get(pk=first).copies]
    print(json.dumps({"results": results, "left": left}))


if __name__ == "__main__":
    main()
