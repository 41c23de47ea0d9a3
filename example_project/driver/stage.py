"""What has to be there before the shop opens (tables, products, a login, some carts), and what has to go."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils import timezone
from django_cfg_tasks import embedded

from driver.folder import FolderRefused
from shop.models import Cart, Order

CARTS = 300


def set_up(user: str, password: str) -> None:
    """Prepare an empty database. One that has orders is refused: the audit would count them."""
    call_command("migrate", verbosity=0)
    if Order.objects.exists():
        raise FolderRefused("the database of SHOP_DATABASE_URL has orders in it. Give an empty one.")
    call_command("loaddata", "products", verbosity=0)
    get_user_model().objects.create_superuser(user, password=password)
    today = timezone.now()
    Cart.objects.bulk_create(
        # Half of them are older than clear_old_carts allows.
        Cart(
            session_key=f"visitor-{number}",
            items={"TEA-MINT-50": 1},
            touched_at=today - timedelta(days=number % 2 * 30),
        )
        for number in range(CARTS)
    )


def stop_redis() -> None:
    """Stop the embedded Redis, if the shop uses one and it runs."""
    url = settings.DJANGO_CFG_TASKS.rearq.redis_url
    if url.startswith("embedded://"):
        embedded.stop(embedded.folder_of(url))
