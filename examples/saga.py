r"""A saga: several bookings, all or none. When one fails, those before it are undone.

Each booking is a child run with retries of its own. So is each cancellation, last booking first. The
parent may be killed at any point: another worker goes on with it, and finds what it did before.

Output:
    book-flight    COMPLETED  flight for Ada
    book-hotel     COMPLETED  hotel for Ada
    book-car       FAILED     there are no cars left
    cancel-hotel   COMPLETED  hotel for Ada is cancelled
    cancel-flight  COMPLETED  flight for Ada is cancelled
    the trip: nothing is booked, because there are no cars left
"""

from celery import Celery

from trigger_celery import AbortTaskRunError, Run, TriggerCelery, runs, task, tasks

app = Celery("saga")
TriggerCelery(app)

RETRY = {"max_attempts": 5, "min_timeout_in_ms": 100}


@task(id="book-flight", retry=RETRY)
async def book_flight(who: str) -> str:
    return f"flight for {who}"


@task(id="book-hotel", retry=RETRY)
async def book_hotel(who: str) -> str:
    return f"hotel for {who}"


@task(id="book-car", retry=RETRY)
async def book_car(who: str) -> str:
    raise AbortTaskRunError("there are no cars left")  # a retry would not help


@task(id="cancel-flight", retry=RETRY)
async def cancel_flight(booking: str) -> str:
    return f"{booking} is cancelled"


@task(id="cancel-hotel", retry=RETRY)
async def cancel_hotel(booking: str) -> str:
    return f"{booking} is cancelled"


@task(id="cancel-car", retry=RETRY)
async def cancel_car(booking: str) -> str:
    return f"{booking} is cancelled"


PLAN = [(book_flight, cancel_flight), (book_hotel, cancel_hotel), (book_car, cancel_car)]


@task(id="book-trip")
async def book_trip(who: str) -> str:
    undo = []
    for book, cancel in PLAN:
        booking = await book.trigger_and_wait(who)
        if booking.ok:
            undo.append((cancel, booking.output))
            continue
        for cancel_it, booked in reversed(undo):
            await cancel_it.trigger_and_wait(booked).unwrap()
        return f"nothing is booked, because {booking.error.message}"
    return f"{len(undo)} bookings"


def line(run: Run) -> str:
    return f"{run.task_identifier:<14} {run.status:<10} {run.output or run.error.message}"


if __name__ == "__main__":
    from playground import playground

    with playground(__file__, quiet=True):
        trip = runs.poll(tasks.trigger("book-trip", "Ada").sync(), timeout=60).sync()
        found = [run for run in runs.list(limit=100).sync() if run.id != trip.id]
        for run in sorted(found, key=lambda run: run.created_at):
            print(line(runs.retrieve(run).sync()))
        print(f"the trip: {trip.output}")
