"""Gives the shop work: the till's file, a rush of web orders, a few mistakes. Notes what was accepted.

What is noted here comes from the answers that a caller got, so that it can testify against the job history.
"""

import csv
import http.client
import json
import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from data import make_orders
from shop.gateway import BROKEN, BUSY, DECLINED, VERY_BUSY
from shop.tasks import import_orders, write_daily_summary

FILE = "orders.csv"
CHUNK = 200  # lines of the file per job
SUMMARIES = 7  # days
SUMMARY_DELAY = 5  # seconds

VIEWS = ["/orders/", "/orders/async/"]
THREADS = 20
TIMEOUT = 30  # seconds
CARD = "tok_visa"
# Which of a hundred orders is paid with a card that makes trouble.
ODD_CARDS = {
    **dict.fromkeys([3, 13, 23, 33, 43, 53, 63, 73, 83, 93], BUSY),
    **dict.fromkeys([8, 38, 68, 98], VERY_BUSY),
    **dict.fromkeys([20, 45, 70], DECLINED),
    **dict.fromkeys([16, 66], BROKEN),
}

TEA = {"sku": "TEA-EARL-100", "quantity": 1}
# Changes to a good order that make it a wrong one, or a whole body.
MISTAKES: list[dict[str, Any] | bytes] = [
    b"{",
    b"[]",
    {"items": []},
    {"items": [TEA | {"quantity": 0}]},
    {"items": [TEA | {"sku": "TEA-UNICORN-100"}]},
    {"email": "nobody.example.com"},
    {"card": "4111 1111 1111 1111"},
    {"discount": 100},
]


@dataclass(frozen=True)
class WebOrder:
    """An order that the shop accepted, with the job that it promised."""

    number: str
    job_id: str
    card: str


@dataclass
class Accepted:
    """What the shop has accepted so far, by the answers it gave. Filled by several threads."""

    imports: list[str] = field(default_factory=list)
    summaries: list[str] = field(default_factory=list)
    web_orders: list[WebOrder] = field(default_factory=list)
    refusals: int = 0
    faults: list[str] = field(default_factory=list)

    def job_ids(self) -> dict[str, str]:
        """Return the task of each job that was promised, by job id."""
        return {
            **dict.fromkeys(self.imports, "import_orders"),
            **dict.fromkeys(self.summaries, "write_daily_summary"),
            **{order.job_id: "charge_card" for order in self.web_orders},
        }


def feed_file(accepted: Accepted) -> None:
    """Have the whole file imported, and the first days summed up a little later."""
    with (make_orders.FOLDER / FILE).open(encoding="utf-8", newline="") as file:
        last = sum(1 for _ in csv.reader(file))
    chunks = [(FILE, first, min(first + CHUNK - 1, last)) for first in range(2, last + 1, CHUNK)]
    accepted.imports += [job.job_id for job in import_orders.enqueue_many(chunks)]

    first_day = make_orders.FIRST_ORDER.date()
    days = [(first_day + timedelta(days=offset),) for offset in range(SUMMARIES)]
    later = write_daily_summary.using(countdown=SUMMARY_DELAY)
    accepted.summaries += [job.job_id for job in later.enqueue_many(days)]


class Customers:
    """Sends orders over HTTP, as many at a time as there are threads."""

    def __init__(self, port: int, accepted: Accepted) -> None:
        self._port, self._accepted = port, accepted
        self._orders = orders()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="customer")
        self._posts: list[Future[None]] = []

    def rush(self, count: int) -> None:
        """Start to send `count` orders to both views in turn, and the mistakes to each of them."""
        for index in range(count):
            self.order(VIEWS[index % len(VIEWS)])
        for view in VIEWS:
            for mistake in MISTAKES:
                body = mistake if isinstance(mistake, bytes) else json.dumps(next(self._orders) | mistake).encode()
                self._posts.append(self._pool.submit(self._expect_refusal, view, body))

    def order(self, view: str) -> None:
        """Start to send one order."""
        self._posts.append(self._pool.submit(self._expect_acceptance, view, next(self._orders)))

    @property
    def waiting(self) -> bool:
        """Whether any answer is still to come."""
        self._posts = [post for post in self._posts if not post.done()]
        return bool(self._posts)

    def close(self) -> None:
        """Send no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _expect_acceptance(self, view: str, order: dict[str, Any]) -> None:
        status, answer = self._post(view, json.dumps(order).encode())
        if status == HTTPStatus.ACCEPTED:
            self._accepted.web_orders.append(WebOrder(answer["order"], answer["job_id"], order["card"]))
        else:
            self._accepted.faults.append(f"POST {view}: a good order was answered with {status}: {answer}")

    def _expect_refusal(self, view: str, body: bytes) -> None:
        status, answer = self._post(view, body)
        if status == HTTPStatus.BAD_REQUEST and answer.get("error"):
            self._accepted.refusals += 1
        else:
            self._accepted.faults.append(f"POST {view}: {body[:80]!r} was answered with {status}: {answer}")

    def _post(self, view: str, body: bytes) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            connection.request("POST", view, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, {"error": repr(error)}
        finally:
            connection.close()


def orders() -> Iterator[dict[str, Any]]:
    """Yield web orders without end, the same ones in every run."""
    dice = random.Random(1)
    skus = sorted(json.loads(make_orders.PRODUCTS.read_text(encoding="utf-8")), key=lambda row: row["pk"])
    index = 0
    while True:
        first, last = dice.choice(make_orders.FIRST_NAMES), dice.choice(make_orders.LAST_NAMES)
        chosen = dice.sample(skus, dice.choice([1, 1, 2, 3]))
        yield {
            "customer": f"{first} {last}",
            "email": f"{first}.{last}@example.com".lower(),
            "items": [{"sku": row["fields"]["sku"], "quantity": dice.choice([1, 1, 2, 4])} for row in chosen],
            "card": ODD_CARDS.get(index % 100, CARD),
        }
        index += 1
