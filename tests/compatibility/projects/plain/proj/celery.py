from celery import Celery

app = Celery("proj", include=["proj.tasks"])

app.conf.update(
    result_expires=3600,
    task_annotations={"proj.tasks.xsum": {"rate_limit": "100/s"}},
)

if __name__ == "__main__":
    app.start()
