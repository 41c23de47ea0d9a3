"""With the middleware a job is for whoever made the request: sync and async views, logins, REST framework, threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import alogin, login
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response

from django_cfg_tasks import attribution, get_rearq_client
from tests.shop.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_cfg_tasks.middleware.UserMiddleware",
]


def sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(add.enqueue(1, 2).job_id)


def transaction_view(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        return HttpResponse(add.enqueue(1, 2).job_id)


def delay_in_a_sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(async_to_sync(add.delay)(1, 2).job_id)


def many_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(job.job_id for job in add.enqueue_many([(1, 2), (3, 4)])))


async def async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await add.delay(1, 2)).job_id)


async def amany_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(job.job_id for job in await add.delay_many([(1, 2), (3, 4)])))


def _enqueue_in_thread() -> Any:
    try:
        return add.enqueue(1, 2)
    finally:
        connections.close_all()  # who asked for the user; nobody else closes a connection of this thread


async def thread_view(request: HttpRequest) -> HttpResponse:
    """A thread that asgiref starts, and an asyncio task, both of which carry the context on."""
    in_thread = await sync_to_async(_enqueue_in_thread, thread_sensitive=False)()
    in_task = await asyncio.create_task(add.delay(1, 2))
    return HttpResponse(f"{in_thread.job_id} {in_task.job_id}")


def explicit_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(add.using(user=User.objects.get(username="eve"), countdown=60).enqueue(1, 2).job_id)


async def aexplicit_view(request: HttpRequest) -> HttpResponse:
    eve = await User.objects.aget(username="eve")
    return HttpResponse((await add.using(user=eve).delay(1, 2, countdown=60)).job_id)


def nobody_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(add.using(user=None).enqueue(1, 2).job_id)


def login_view(request: HttpRequest) -> HttpResponse:
    anonymous = add.enqueue(1, 2)
    login(request, User.objects.get(username="eve"), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse(f"{anonymous.job_id} {add.enqueue(1, 2).job_id}")


async def alogin_view(request: HttpRequest) -> HttpResponse:
    anonymous = await add.delay(1, 2)
    await alogin(request, await User.objects.aget(username="eve"), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse(f"{anonymous.job_id} {(await add.delay(1, 2)).job_id}")


class ByToken(BaseAuthentication):
    """Whoever is named in a header, as a token would."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        return User.objects.get(username=request.headers["X-Token-Of"]), None


@api_view()
@authentication_classes([ByToken])
def rest_view(request: Request) -> Response:
    return Response(add.enqueue(1, 2).job_id)


@api_view()
@authentication_classes([ByToken])
def delay_in_a_rest_view(request: Request) -> Response:
    return Response(async_to_sync(add.delay)(1, 2).job_id)


async def blocking_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(add.enqueue(1, 2).job_id)


def idle_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.accessed))


def broken_view(request: HttpRequest) -> HttpResponse:
    raise LookupError("a view of its own kind")


VIEWS = [
    sync_view, transaction_view, delay_in_a_sync_view, many_view, async_view, amany_view, thread_view, explicit_view,
    aexplicit_view, nobody_view, login_view, alogin_view, rest_view, delay_in_a_rest_view,
    blocking_view, idle_view, broken_view,
]  # fmt: skip
urlpatterns = [path(view.__name__, view) for view in VIEWS]
Asked = Callable[..., list[Any]]


@pytest.fixture(params=["WSGI", "ASGI"])
def ask(
    request: pytest.FixtureRequest, tasks_config: Callable[..., Any], settings: Any, client: Client
) -> Iterator[Asked]:
    """Ask a view as ``user``; return for whom the jobs are whose ids it answers with."""
    tasks_config()
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = MIDDLEWARE

    def asked(view: Any, user: User | None, **headers: str) -> list[Any]:
        if request.param == "WSGI":
            if user is not None:
                client.force_login(user)
            content = client.get(f"/{view.__name__}", headers=headers).content
        else:
            content = asyncio.run(_ask(view, user, headers))
        ids = content.decode().strip('"').split()
        jobs = get_rearq_client().load(ids)
        return [jobs[job_id].options.get("user") for job_id in ids]

    yield asked
    assert not attribution.is_known()


async def _ask(view: Any, user: User | None, headers: dict[str, str]) -> bytes:
    client = AsyncClient()
    try:
        if user is not None:
            await client.aforce_login(user)
        return bytes((await client.get(f"/{view.__name__}", headers=headers)).content)
    finally:
        await sync_to_async(connections.close_all)()  # those of the thread that ends with this loop


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def eve() -> User:
    return User.objects.create(username="eve")


@pytest.mark.parametrize(
    ("view", "jobs"),
    [
        (sync_view, 1), (transaction_view, 1), (delay_in_a_sync_view, 1), (many_view, 2), (async_view, 1),
        (amany_view, 2), (thread_view, 2),
    ],
)  # fmt: skip
def test_a_job_is_for_whoever_made_the_request(ask: Asked, ada: User, view: Any, jobs: int) -> None:
    assert ask(view, ada) == [ada.pk] * jobs


@pytest.mark.parametrize("view", [sync_view, async_view])
def test_nobody_logged_in(ask: Asked, view: Any) -> None:
    assert ask(view, None) == [None]


@pytest.mark.parametrize("view", [explicit_view, aexplicit_view])
def test_what_the_call_says_goes_before(ask: Asked, ada: User, eve: User, view: Any) -> None:
    assert ask(view, ada) == [eve.pk]


def test_for_nobody_if_the_call_says_so(ask: Asked, ada: User) -> None:
    assert ask(nobody_view, ada) == [None]


@pytest.mark.parametrize("view", [login_view, alogin_view])
def test_who_logs_in_is_known_from_then_on(ask: Asked, eve: User, view: Any) -> None:
    assert ask(view, None) == [None, eve.pk]


@pytest.mark.parametrize("view", [rest_view, delay_in_a_rest_view])
def test_whom_rest_framework_has_authenticated(ask: Asked, ada: User, eve: User, view: Any) -> None:
    """Not by the session, in which somebody else may be logged in."""
    assert ask(view, None, **{"X-Token-Of": "eve"}) == [eve.pk]
    assert ask(view, ada, **{"X-Token-Of": "eve"}) == [eve.pk]


def test_a_sync_call_in_an_async_view_can_only_say_so(ask: Asked, ada: User, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(blocking_view, ada) == [None]
    (told,) = [record.message for record in caplog.records if record.name == "django_cfg_tasks.client"]
    assert "In async code await task.delay(...), or say using(user=...). SynchronousOnlyOperation" in told


def test_a_request_that_enqueues_nothing_costs_nothing(
    ask: Asked, ada: User, client: Client, django_assert_num_queries: Any
) -> None:
    client.force_login(ada)
    with django_assert_num_queries(0):
        assert client.get("/idle_view").content == b"False"


def test_the_user_is_forgotten_after_the_request(ask: Asked, ada: User, client: Client) -> None:
    """Also after a view that raises: the next thing that this thread does is somebody else's."""
    client.force_login(ada)
    with pytest.raises(LookupError):
        client.get("/broken_view")
    assert add.record((1, 2), {}).options == {}


def test_a_thread_of_the_views_own_is_nobodys_unless_it_is_given_the_context(tasks_config: Callable[..., Any]) -> None:
    tasks_config()
    found: list[Any] = []
    with attribution.attributed_to(attribution.JobsUser(7)):
        context = contextvars.copy_context()
        for run in (lambda look: look(), context.run):
            thread = threading.Thread(target=lambda run=run: found.append(run(attribution.current_key)))
            thread.start()
            thread.join()
    assert found == [None, 7]


class Unreadable:
    """A session store that is away."""

    def key(self) -> Any:
        raise ConnectionError("the sessions' cache does not answer")

    async def akey(self) -> Any:
        return self.key()


def test_a_job_is_not_refused_for_want_of_its_user(
    tasks_config: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    tasks_config()
    with attribution.attributed_to(Unreadable()):
        assert add.enqueue(1, 2).status == "queued"
        assert async_to_sync(add.delay)(1, 2).status == "queued"
    told = "A job is enqueued for nobody, as the current user could not be read."
    assert [message.partition(" In async")[0] for message in caplog.messages] == [told, told]
    assert caplog.messages[0].endswith("ConnectionError: the sessions' cache does not answer")
