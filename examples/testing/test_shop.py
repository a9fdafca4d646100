"""Tests of the shop: with a real engine in this process, and without any server."""

from __future__ import annotations

import pytest
import shop


@pytest.fixture
def mails(monkeypatch):
    sent = []
    monkeypatch.setattr(shop, "send_mail", lambda to, text: sent.append((to, text)))
    return sent


def test_a_small_order_is_sold_at_once(trigger_env, mails):
    handle = shop.check_out.trigger({"to": "ada@example.com", "total": 20}).sync()
    trigger_env.assert_completed(handle, output="sold")
    trigger_env.assert_triggered(
        "send-mail", payload={"to": "ada@example.com", "text": "How was it?"}, delay="7d", times=1
    )


def test_the_reminder_comes_after_a_week(trigger_env, mails):
    shop.check_out.trigger({"to": "ada@example.com", "total": 20}).sync()
    trigger_env.skip("6d")
    assert [text for _, text in mails] == ["Thank you!"]
    trigger_env.skip("1d")
    assert [text for _, text in mails] == ["Thank you!", "How was it?"]


def test_a_large_order_waits_for_approval(trigger_env, mails):
    handle = shop.check_out.trigger({"to": "ada@example.com", "total": 5000}).sync()
    assert [run.id for run in trigger_env.drain()] == [handle.id]
    trigger_env.complete_token(handle, {"approved": True})
    trigger_env.assert_completed(handle, output="sold")


def test_nobody_approves(trigger_env, mails):
    handle = shop.check_out.trigger({"to": "ada@example.com", "total": 5000}).sync()
    trigger_env.skip("2d")
    trigger_env.assert_completed(handle, output="refused")
    trigger_env.assert_not_triggered("send-mail")


def test_mails_are_tried_three_times(trigger_env):
    handle = shop.mail.trigger({"to": "ada@example.com", "text": "Hello"}).sync()
    run = trigger_env.assert_failed(handle, error=OSError)
    assert run.attempt_count == 3


def test_without_a_server(trigger_inline, mails):
    trigger_inline.answer_tokens({"approved": True})
    handle = shop.check_out.trigger({"to": "ada@example.com", "total": 5000}).sync()
    trigger_inline.assert_completed(handle, output="sold")
    trigger_inline.assert_triggered(shop.mail, tags="shop", times=1)
    assert len(mails) == 2
