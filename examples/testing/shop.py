"""A small shop: what its tests, beside this file, are about."""

from __future__ import annotations

from typing import Any

from celery import Celery

from trigger_celery import TriggerCelery, task, wait

app = Celery("shop", broker="redis://localhost:6379/0")
TriggerCelery(app)


def send_mail(to: str, text: str) -> None:
    """Send a mail; tests replace it."""
    raise OSError("there is no mail server")


@task(id="send-mail", retry={"max_attempts": 3, "min_timeout_in_ms": 30_000})
def mail(payload: dict[str, str]) -> None:
    """Send a mail, and try again when the server does not answer."""
    send_mail(payload["to"], payload["text"])


@task(id="check-out")
async def check_out(payload: dict[str, Any]) -> str:
    """Sell something: large orders are approved by a person, and everybody gets a reminder."""
    if payload["total"] > 1000:
        decision = await wait.for_token(await wait.create_token(timeout="2d"))
        if not decision.ok or not decision.data["approved"]:
            return "refused"
    await mail.trigger({"to": payload["to"], "text": "Thank you!"}, tags=["shop"])
    await mail.trigger({"to": payload["to"], "text": "How was it?"}, delay="7d")
    return "sold"
