"""Mails the invoice to the customer."""

from django.core.mail import EmailMessage

from shop.models import Invoice


def send(invoice: Invoice) -> None:
    """Send the mail. If it is ever sent twice, it has the same Message-ID, and mail programs show it once."""
    order = invoice.order
    message = EmailMessage(
        subject=f"Your order {order.number}",
        body=(
            f"Dear {order.customer.name},\n\n"
            f"thank you for your order {order.number}. We have received your payment of {order.total} EUR;\n"
            "the invoice is attached.\n\n"
            "Enjoy your tea!\n"
            "Leaf & Kettle\n"
        ),
        to=[order.customer.email],
        headers={"Message-ID": f"<receipt-{order.number}@shop.example>", "X-Order": order.number},
    )
    message.attach_file(invoice.file.path, "text/html")
    message.send()
