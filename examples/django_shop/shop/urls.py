"""One view triggers, the others tell how it goes."""

from django.urls import path
from orders import views

urlpatterns = [
    path("orders/", views.place),
    path("orders/<int:pk>/", views.progress),
    path("receipts/<int:pk>/", views.receipt),
    path("runs/<str:run_id>/", views.run),
]
