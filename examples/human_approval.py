r"""Wait for a person: a run asks, and somebody outside answers, or nobody does in time.

A run makes a token and waits for it. It holds no slot meanwhile, whether the answer takes a second or
a month. Who answers is any process that knows the token's id: a web view, a bot, the code below.

Output:
    team offsite: WAITING
    the answer counts: True
    a second one counts: False
    re: team offsite: approved by Grace, after \d+\.\d s
    yacht: refused, nobody answered in time
"""

import time

from celery import Celery

from trigger_celery import Context, Token, TriggerCelery, runs, task, wait

app = Celery("human_approval")
TriggerCelery(app)


@task(id="expense")
async def expense(payload: dict, ctx: Context) -> str:
    # The tag is how the outside finds the token. An e-mail with a link would hold its id.
    token = await wait.create_token(timeout=payload["patience"], tags=[f"expense:{ctx.run.id}"])
    answer = await wait.for_token(token)
    if not answer.ok:
        return "refused, nobody answered in time"
    return f"{'approved' if answer.data['yes'] else 'refused'} by {answer.data['who']}"


def token_of(run_id: str) -> Token:
    """Return the token that a run waits for; it may be about to make it."""
    while True:
        found = wait.list_tokens(tags=f"expense:{run_id}").sync()
        if len(found):
            return found.tokens[0]
        time.sleep(0.05)


def status_once_waiting(run_id: str) -> str:
    while not (run := runs.retrieve(run_id).sync()).is_waiting:
        time.sleep(0.05)
    return run.status


if __name__ == "__main__":
    from playground import playground

    with playground(__file__):
        offsite = expense.trigger({"what": "team offsite", "patience": "2d"}).sync()
        yacht = expense.trigger({"what": "yacht", "patience": "1s"}).sync()

        token = token_of(offsite.id)
        print(f"team offsite: {status_once_waiting(offsite.id)}")
        first = wait.complete_token(token, {"yes": True, "who": "Grace"}).sync()
        print(f"the answer counts: {first}")
        second = wait.complete_token(token, {"yes": False, "who": "Alan"}).sync()
        print(f"a second one counts: {second}")

        run = runs.poll(offsite, timeout=60).sync()
        print(f"team offsite: {run.output}, after {run.duration_ms / 1000:.1f} s")
        print(f"yacht: {runs.poll(yacht, timeout=60).sync().output}")
