"""One view triggers, the others tell how it goes."""

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders.models import Order
from orders.tasks import fulfil_order, send_receipt
from trigger_celery import RunNotFoundError, runs
from trigger_celery.contrib.django import trigger_on_commit


@csrf_exempt
@require_POST
def place(request: HttpRequest) -> JsonResponse:
    """Save the order, and fulfil it once it is committed: ATOMIC_REQUESTS commits after the view."""
    order = Order.objects.create(customer=request.POST["customer"])
    handle = trigger_on_commit(fulfil_order, {"order": order.pk}, tags=[f"order:{order.pk}"])
    order.run = handle.id  # known already, though the run is still to come
    order.save()
    return JsonResponse({"order": order.pk, "run": handle.id}, status=202)


def progress(request: HttpRequest, pk: int) -> JsonResponse:
    """Tell how far the order is."""
    order = get_object_or_404(Order, pk=pk)
    found = runs.retrieve(order.run).sync()
    return JsonResponse(
        {
            "order": order.status,
            "run": found.status,
            "progress": (found.metadata or {}).get("progress"),
            "output": found.output,
        }
    )


@csrf_exempt
@require_POST
def receipt(request: HttpRequest, pk: int) -> JsonResponse:
    """Enqueue a task of Django's own kind."""
    return JsonResponse({"run": send_receipt.enqueue(pk).id}, status=202)


def run(request: HttpRequest, run_id: str) -> JsonResponse:
    """Tell how a run is. In a shop of yours: only to who may know."""
    try:
        found = runs.retrieve(run_id).sync()
    except RunNotFoundError:
        return JsonResponse({"error": "no such run"}, status=404)
    return JsonResponse({"status": found.status, "output": found.output})
