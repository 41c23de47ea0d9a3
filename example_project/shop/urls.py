from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("orders/", views.take_order, name="take-order"),
    path("orders/async/", views.take_order_async, name="take-order-async"),
    path("orders/<str:number>/", views.order_state, name="order"),
    path("orders/<str:number>/invoice/", views.invoice, name="invoice"),
]
