from .celery import app


@app.task
def add(x, y):
    return x + y


@app.task
def mul(x, y):
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def halve(self, number):
    """Divides by two, at the second try."""
    if not self.request.retries:
        raise self.retry(exc=ArithmeticError(number))
    return number / 2


@app.task
def divide(x, y):
    return x / y


@app.task(bind=True)
def remember(self, *args):
    """The name and the arguments of what called back."""
    return [self.name, len(args)]
