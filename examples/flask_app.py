r"""Trigger from a Flask view, and tell the browser how far the run is.

The worker executes the run in the application context: `current_app` and `g` are there. Without
the playground: `flask --app flask_app trigger worker`, and `flask --app flask_app run` beside it.

Output:
    202 triggered
    re: \d+ %
    COMPLETED: 3 pages for Flask Press
    400 the payload of task 'print-book' does not match Book:
"""

import os
import time

from flask import Flask, current_app, jsonify, request
from pydantic import BaseModel, Field

from trigger_celery import InputError, RunNotFoundError, metadata, runs, schema_task, wait
from trigger_celery.contrib.flask import Trigger

trigger = Trigger()


class Book(BaseModel):
    """What the view takes, and the task."""

    pages: int = Field(gt=0)


@schema_task(id="print-book", schema=Book)
def print_book(book: Book) -> str:
    for page in range(book.pages):
        metadata.set("percent", round(100 * page / book.pages))
        wait.for_duration(0.3).sync()  # what is set is sent before it waits
    metadata.set("percent", 100)
    return f"{book.pages} pages for {current_app.config['PUBLISHER']}"


def create_app() -> Flask:
    app = Flask("press")
    app.config["PUBLISHER"] = "Flask Press"
    app.config["CELERY"] = {"broker_url": os.environ.get("CELERY_BROKER_URL")}
    app.config["TRIGGER_CELERY"] = {"project": "press"}
    trigger.init_app(app)

    @app.post("/books")
    def start():
        try:
            handle = print_book.trigger(request.get_json()).sync()
        except InputError as problem:
            return jsonify(error=str(problem)), 400
        return jsonify(run=handle.id), 202

    @app.get("/books/<run_id>")
    def progress(run_id: str):
        try:
            run = runs.retrieve(run_id).sync()
        except RunNotFoundError:
            return jsonify(error="no such run"), 404
        percent = (run.metadata or {}).get("percent", 0)
        return jsonify(status=run.status, done=run.is_completed, percent=percent, output=run.output)

    return app


flask_app = create_app()
app = flask_app.extensions["celery"]  # for `celery -A flask_app worker`, as in Flask's guide

if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        browser = flask_app.test_client()
        answer = browser.post("/books", json={"pages": 3})
        print(answer.status_code, "triggered")
        place, shown = f"/books/{answer.json['run']}", None
        while not (seen := browser.get(place).json)["done"]:
            if seen["percent"] != shown:
                shown = seen["percent"]
                print(shown, "%")
            time.sleep(0.05)
        print(f"{seen['status']}: {seen['output']}")
        refused = browser.post("/books", json={"pages": 0})
        print(refused.status_code, refused.json["error"])
