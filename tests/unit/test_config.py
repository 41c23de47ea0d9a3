"""TaskConfig and RearqConfig: defaults, bounds, URLs; what errors say, and the passwords that nothing shows."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from django_cfg_tasks import RearqConfig, TaskConfig
from django_cfg_tasks.config import mask_url, sentinel_address
from django_cfg_tasks.exceptions import ConfigurationError

SECRET = "hunter2"

REARQ_DEFAULTS = {
    "redis_url": "redis://localhost:6379/0",
    "db_url": None,
    "max_jobs": 10,
    "job_timeout": 300,
    "job_retry": 3,
    "job_retry_after": 60,
    "keep_job_days": 7,
    "delay_queue_num": 1,
    "logs_dir": None,
    "server_enabled": False,
    "server_port": 8001,
    "sentinels": [],
    "sentinel_master": "mymaster",
    "sentinel_username": None,
    "sentinel_password": None,
    "group_name": "rearq",
    "shutdown_timeout": 25,
    "lease": 30,
    "max_deliveries": 3,
    "max_argument_bytes": 1_048_576,
    "metrics_port": None,
    "metrics_host": "127.0.0.1",
}


def refusal(model: type[RearqConfig | TaskConfig] = RearqConfig, **fields: Any) -> str:
    """The text of the error that these fields get."""
    with pytest.raises(ConfigurationError) as caught:
        model(**fields)
    return str(caught.value)


class TestDefaults:
    def test_rearq_config(self) -> None:
        assert RearqConfig().model_dump() == REARQ_DEFAULTS

    def test_task_config(self) -> None:
        assert TaskConfig().model_dump() == {
            "enabled": True,
            "backend": "rearq",
            "rearq": REARQ_DEFAULTS,
            "auto_discover_tasks": True,
            "task_modules": ["tasks"],
            "public_health": False,
            "api_permission_classes": ["django_cfg_tasks.api.permissions.IsPermittedStaff"],
            "api_authentication_classes": [
                "rest_framework.authentication.SessionAuthentication",
                "rest_framework.authentication.BasicAuthentication",
            ],
            "api_aggregate_rate": "120/m",
            "metrics_token": None,
        }

    def test_a_dict_of_the_same_shape_is_the_same(self) -> None:
        shape = {"enabled": False, "rearq": {"max_jobs": 20}, "task_modules": ["tasks", "jobs.nightly"]}
        assert TaskConfig.model_validate(shape) == TaskConfig(
            enabled=False, rearq=RearqConfig(max_jobs=20), task_modules=["tasks", "jobs.nightly"]
        )


LIMITS = [
    ("max_jobs", 1, 10_000),
    ("job_retry", 0, 10_000),
    ("job_retry_after", 0, 31_536_000),
    ("keep_job_days", 1, 36_500),
    ("delay_queue_num", 1, 1_024),
    ("server_port", 1, 65_535),
    ("shutdown_timeout", 0, 86_400),
    ("lease", 2, 3_600),
    ("max_deliveries", 1, 1_000),
    ("max_argument_bytes", 1_024, 104_857_600),
]


class TestBounds:
    @pytest.mark.parametrize(("field", "least", "most"), LIMITS)
    def test_numbers(self, field: str, least: int, most: int) -> None:
        assert getattr(RearqConfig(**{field: least}), field) == least
        assert getattr(RearqConfig(**{field: most}), field) == most
        assert refusal(**{field: least - 1}) == (
            f"RearqConfig.{field} = {least - 1}: Input should be greater than or equal to {least}."
        )
        assert refusal(**{field: most + 1}) == (
            f"RearqConfig.{field} = {most + 1}: Input should be less than or equal to {most}."
        )

    def test_every_number_has_bounds(self) -> None:
        numbers = {name for name, value in REARQ_DEFAULTS.items() if type(value) is int}
        assert numbers == {field for field, _, _ in LIMITS} | {"job_timeout"}

    @pytest.mark.parametrize("timeout", [0.001, 10**9])
    def test_a_job_timeout_is_above_zero(self, timeout: float) -> None:
        assert RearqConfig(job_timeout=timeout).job_timeout == timeout
        assert refusal(job_timeout=0) == "RearqConfig.job_timeout = 0: Input should be greater than 0."

    @pytest.mark.parametrize("field", ["job_timeout", "shutdown_timeout", "lease"])
    @pytest.mark.parametrize("value", [math.inf, math.nan])
    def test_times_end(self, field: str, value: float) -> None:
        assert f"RearqConfig.{field} = {value}: " in refusal(**{field: value})

    def test_jobs_may_be_kept_for_ever(self) -> None:
        assert RearqConfig(keep_job_days=None).keep_job_days is None

    @pytest.mark.parametrize("field", [field for field, _, _ in LIMITS if field not in ("shutdown_timeout", "lease")])
    def test_whole_numbers(self, field: str) -> None:
        assert f"RearqConfig.{field} = 2.5: Input should be a valid integer" in refusal(**{field: 2.5})

    @pytest.mark.parametrize("name", ["a", "a" * 100, "rearq-1.blue_é"])
    def test_group_names(self, name: str) -> None:
        assert RearqConfig(group_name=name).group_name == name

    @pytest.mark.parametrize("name", ["", "a" * 101, "a b", "a:b", "a\n", "\t", None, 1])
    def test_bad_group_names(self, name: Any) -> None:
        assert f"RearqConfig.group_name = {name!r}: " in refusal(group_name=name)

    def test_the_sentinel_master_has_a_name(self) -> None:
        assert "RearqConfig.sentinel_master = '': " in refusal(sentinel_master="")

    def test_backends(self) -> None:
        told = "TaskConfig.backend = 'celery': Input should be 'rearq', 'immediate' or 'memory'."
        assert refusal(TaskConfig, backend="celery") == told

    @pytest.mark.parametrize("field", ["enabled", "auto_discover_tasks"])
    def test_switches(self, field: str) -> None:
        assert f"TaskConfig.{field} = 'perhaps': " in refusal(TaskConfig, **{field: "perhaps"})

    @pytest.mark.parametrize("module", ["", "a b", "a-b", ".tasks", "tasks.", "a..b", "1tasks", "tasks.py\n"])
    def test_task_modules_are_module_names(self, module: str) -> None:
        assert f"TaskConfig.task_modules.1 = {module!r}: " in refusal(TaskConfig, task_modules=["tasks", module])

    @pytest.mark.parametrize("rate", ["", "0/m", "5", "5/", "5/w", "5 / m", "-1/s", "5/10s", "5/m\n", "٣/m"])
    def test_a_rate_that_drf_could_not_read(self, rate: str) -> None:
        assert f"TaskConfig.api_aggregate_rate = {rate!r}: " in refusal(TaskConfig, api_aggregate_rate=rate)

    @pytest.mark.parametrize("field", ["api_permission_classes", "api_authentication_classes"])
    @pytest.mark.parametrize("names", [[], ["shop.api.IsStaff()"], ["shop/api"], [""]])
    def test_classes_of_the_api_have_dotted_names_and_are_never_none(self, field: str, names: list[str]) -> None:
        assert f"TaskConfig.{field}" in refusal(TaskConfig, **{field: names})


class TestErrors:
    def test_an_unknown_setting_is_named_with_the_known_ones(self) -> None:
        message = refusal(max_job=5)
        assert message.startswith("RearqConfig has no setting 'max_job'. It has: db_url, delay_queue_num, ")
        assert all(field in message for field in REARQ_DEFAULTS)

    def test_an_unknown_setting_of_the_outer_object(self) -> None:
        assert refusal(TaskConfig, redis_url="redis://localhost") == (
            "TaskConfig has no setting 'redis_url'. It has: api_aggregate_rate, "
            "api_authentication_classes, api_permission_classes, auto_discover_tasks, backend, enabled, "
            "metrics_token, public_health, rearq, task_modules."
        )

    def test_nested_errors_name_the_inner_object(self) -> None:
        assert refusal(TaskConfig, rearq={"max_jobs": 0}).startswith("RearqConfig.max_jobs = 0: ")
        assert refusal(TaskConfig, rearq={"nonsense": 0}).startswith("RearqConfig has no setting 'nonsense'.")

    def test_all_faults_are_told_at_once(self) -> None:
        lines = refusal(max_jobs=0, lease=1, nonsense=2).splitlines()
        assert [line.split(" = ")[0] for line in lines[:2]] == ["RearqConfig.max_jobs", "RearqConfig.lease"]
        assert "'nonsense'" in lines[2]

    @pytest.mark.parametrize("value", ["redis://localhost", 5, None, [1]])
    def test_something_else_in_place_of_the_inner_object(self, value: Any) -> None:
        assert f"RearqConfig = {value!r}: " in refusal(TaskConfig, rearq=value)


class TestFrozen:
    def test_fields_can_not_be_changed(self) -> None:
        config = TaskConfig()
        with pytest.raises(ConfigurationError, match=r"TaskConfig\.enabled can't be changed"):
            config.enabled = False  # type: ignore[misc]
        with pytest.raises(ConfigurationError, match=r"RearqConfig\.max_jobs can't be changed"):
            config.rearq.max_jobs = 5  # type: ignore[misc]
        assert config == TaskConfig()

    def test_two_configurations_share_no_list(self) -> None:
        RearqConfig().sentinels.append("s1:26379")
        TaskConfig().task_modules.append("jobs")
        assert RearqConfig().sentinels == []
        assert TaskConfig().task_modules == ["tasks"]

    def test_copies_are_equal(self) -> None:
        config = TaskConfig(rearq=RearqConfig(sentinels=["s1:26379"]))
        assert copy.deepcopy(config) == config
        assert pickle.loads(pickle.dumps(config)) == config
        assert config.model_copy(update={"enabled": False}).enabled is False


class TestRedisUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://localhost", "redis://localhost:6379", "redis://localhost:6379/", "redis://localhost:6379/15",
            "redis://:password@10.0.0.1:6379/0", "redis://user:p%40ss@redis.example.com/1?socket_timeout=5",
            "redis://[::1]:6379/0", "rediss://user:password@redis.example.com:6380/0?ssl_cert_reqs=none",
            "rediss://h?ssl_ca_certs=/etc/ca.crt&ssl_certfile=c.crt&ssl_keyfile=c.key&ssl_check_hostname=false",
            "unix:///run/redis.sock", "unix://:password@/run/redis.sock?db=2",
            "embedded://./redis", "embedded://redis", "embedded:///var/lib/redis", "embedded://.", "embedded://~/redis",
        ],
    )  # fmt: skip
    def test_good(self, url: str) -> None:
        assert RearqConfig(redis_url=url).redis_url == url

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "must start with redis://, rediss://, unix://, embedded://"),
            ("localhost:6379", "must start with redis://"),
            ("redis:localhost", "must start with redis://"),
            ("REDIS://localhost", "must start with redis://"),
            (" redis://localhost", "must start with redis://"),
            ("http://localhost", "must start with redis://"),
            ("postgres://localhost/tasks", "must start with redis://"),
            ("redis://", "a host is missing, as in redis://localhost:6379/0"),
            ("redis:///0", "a host is missing"),
            ("rediss://:6379/0", "a host is missing"),
            ("redis://localhost:0/0", "the port must be a number from 1 to 65535"),
            ("redis://localhost:65536", "the port must be a number from 1 to 65535"),
            ("redis://localhost:port", "the port must be a number from 1 to 65535"),
            ("redis://localhost/cache", "the database must be a number"),
            ("redis://localhost/-1", "the database must be a number"),
            ("redis://localhost/1/2", "the database must be a number"),
            ("redis://localhost/²", "the database must be a number"),
            ("redis://[::1/0", "the URL can't be read"),
            ("rediss://h?ssl_ca_cert=ca.crt", "it takes no ssl_ca_cert; of TLS it takes ssl_ca_certs, "),
            ("redis://h?ssl_ca_certs=ca.crt", "ssl_ca_certs is for TLS, and the URL must then start with rediss://"),
            ("unix:///run/redis.sock?ssl_cert_reqs=none", "ssl_cert_reqs is for TLS"),
            ("rediss://h?ssl_cert_reqs=perhaps", "ssl_cert_reqs is required, optional or none"),
            ("rediss://h?ssl_keyfile=client.key", "name that too, with ssl_certfile"),
            ("unix://", "a path is missing after unix://"),
            ("unix:///", "a path is missing after unix://"),
            ("embedded://", "a path is missing after embedded://"),
            ("embedded:///", "a path is missing after embedded://"),
            (None, "should be a valid string"),
            (6379, "should be a valid string"),
        ],
    )
    def test_bad(self, url: Any, reason: str) -> None:
        message = refusal(redis_url=url)
        assert message.startswith("RearqConfig.redis_url = ")
        assert reason in message


class TestDatabaseUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "sqlite:///./rearq.db", "sqlite:///../rearq.db", "sqlite:////var/lib/rearq.db", "sqlite://rearq.db",
            "postgres://user:password@localhost/tasks", "postgresql://localhost:5433/tasks?sslmode=require",
            "postgresql:///tasks?host=/run/postgresql", "mysql://user:password@localhost:3306/tasks",
        ],
    )  # fmt: skip
    def test_good(self, url: str) -> None:
        assert RearqConfig(db_url=url).db_url == url

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "must start with sqlite://, postgres://, postgresql://, mysql://"),
            ("rearq.db", "must start with sqlite://"),
            ("redis://localhost", "must start with sqlite://"),
            ("sqlite://", "a file is needed, as in sqlite:///./rearq.db"),
            ("sqlite:///", "a file is needed"),
            ("sqlite://:memory:", "a file is needed"),
            ("sqlite:///:memory:", "a file is needed"),
            ("sqlite:///file%3A%3Amemory%3A", "a file is needed"),
            ("postgres:///tasks", "a host is missing, as in postgres://user:password@localhost/tasks"),
            ("mysql:///tasks", "a host is missing, as in mysql://"),
            ("postgresql://localhost", "a database name is missing, as in postgresql://"),
            ("postgresql://localhost/", "a database name is missing"),
            ("postgresql://localhost:0/tasks", "the port must be a number from 1 to 65535"),
            ("postgresql://localhost:http/tasks", "the port must be a number from 1 to 65535"),
            (5432, "should be a valid string"),
        ],
    )
    def test_bad(self, url: Any, reason: str) -> None:
        message = refusal(db_url=url)
        assert message.startswith("RearqConfig.db_url = ")
        assert reason in message


class TestSentinels:
    def test_addresses(self) -> None:
        config = RearqConfig(sentinels=["s1.example.com:26379", "10.0.0.2:1", "[::1]:65535"])
        assert config.sentinel_addresses == [("s1.example.com", 26379), ("10.0.0.2", 1), ("::1", 65535)]

    @pytest.mark.parametrize(
        "sentinel", ["", "s1", ":26379", "s1:", "s1:0", "s1:65536", "s1:port", "s1:²", "[zz:1]:26379", "a b:1", "s1/:1"]
    )
    def test_bad_ones_are_shown_with_a_good_one(self, sentinel: str) -> None:
        reason = f"a sentinel is given as 'host:port', as in 's1.example.com:26379', not {sentinel!r}"
        with pytest.raises(ValueError, match="as in 's1"):
            sentinel_address(sentinel)
        message = refusal(sentinels=["s1:26379", sentinel])
        assert message == f"RearqConfig.sentinels = {['s1:26379', sentinel]!r}: {reason}."

    def test_one_text_is_no_list(self) -> None:
        assert "RearqConfig.sentinels = 's1:26379': Input should be a valid list" in refusal(sentinels="s1:26379")

    @pytest.mark.parametrize("url", ["unix:///run/redis.sock", "embedded://./redis"])
    def test_the_master_is_reached_by_tcp(self, url: str) -> None:
        message = refusal(redis_url=url, sentinels=["s1:26379"])
        assert "RearqConfig.sentinels = ['s1:26379']: they know the master's host" in message
        assert RearqConfig(redis_url=url).redis_url == url

    def test_a_user_needs_a_password(self) -> None:
        RearqConfig(sentinels=["s1:26379"], sentinel_username="tasks", sentinel_password="x")
        assert refusal(sentinels=["s1:26379"], sentinel_username="tasks") == (
            "RearqConfig.sentinel_password = None: a sentinel_username needs a password."
        )


REDIS_PASSWORDS = [
    f"redis://:{SECRET}@localhost:6379/0",
    f"redis://user:{SECRET}@localhost:6379/0",
    f"rediss://user:{SECRET}@localhost:6379/0?ssl_cert_reqs=none",
    f"redis://user:p%40{SECRET}@localhost/0",
    f"redis://user:@{SECRET}@localhost/0",
    f"redis://localhost:6379/0?password={SECRET}",
    f"redis://localhost:6379/0?db=1&Password={SECRET}&socket_timeout=5",
    f"unix://:{SECRET}@/run/redis.sock?db=1",
    f"unix:///run/redis.sock?password={SECRET}",
]
DATABASE_PASSWORDS = [
    f"postgresql://user:{SECRET}@localhost/tasks",
    f"postgres://user:{SECRET}@localhost:5432/tasks?sslmode=require",
    f"postgresql://localhost/tasks?user=me&password={SECRET}",
    f"postgresql://localhost/tasks?sslpassword={SECRET}&sslmode=require",
    f"mysql://user:{SECRET}@localhost/tasks",
]
# Not valid, and so they end up in an error: the password was not percent-encoded, or the host forgotten.
BROKEN = [
    f"redis://:{SECRET}/x@localhost/0",
    f"redis://:x/{SECRET}@localhost/0",
    f"redis://user:1/{SECRET}@localhost/0",
    f"redis://:#{SECRET}@localhost/0",
    f"redis://:?{SECRET}@localhost/0",
    f"redis://:[{SECRET}]@localhost/0",
    f"redis://:{SECRET}℀@localhost/0",
    f"redis://:{SECRET}@localhost:99999/0",
    f"redis://:{SECRET}\n@localhost/x",
    f"redis://:{SECRET}",
    f"redis://user:{SECRET}",
    f"redis://user:{SECRET}/0",
    f"http://user:{SECRET}@localhost",
]


class TestPasswords:
    @pytest.mark.parametrize("url", REDIS_PASSWORDS)
    def test_of_redis_are_not_shown(self, url: str) -> None:
        config = RearqConfig(redis_url=url)
        assert config.redis_url == url
        for holder in (config, TaskConfig(rearq=config), TaskConfig(rearq={"redis_url": url})):  # type: ignore[arg-type]
            assert SECRET not in f"{holder!r} {holder!s} {holder}"
        assert "localhost" in repr(config) or "/run/redis.sock" in repr(config)

    def test_of_sentinels_are_not_shown(self) -> None:
        config = RearqConfig(sentinels=["s1:26379"], sentinel_username="tasks", sentinel_password=SECRET)
        assert config.sentinel_password == SECRET
        for holder in (config, TaskConfig(rearq=config)):
            assert SECRET not in f"{holder!r} {holder!s} {holder}"
        assert "sentinel_password='***'" in repr(config)
        for wrong in ([SECRET], {"a": SECRET}, SECRET.encode() + b"\xff", (SECRET, 1)):
            assert SECRET not in refusal(sentinel_password=wrong)
        assert SECRET not in refusal(sentinel_password=SECRET, max_jobs=0, nonsense=1)

    @pytest.mark.parametrize("url", DATABASE_PASSWORDS)
    def test_of_databases_are_not_shown(self, url: str) -> None:
        config = RearqConfig(db_url=url)
        assert config.db_url == url
        for holder in (config, TaskConfig(rearq=config), TaskConfig(rearq={"db_url": url})):  # type: ignore[arg-type]
            assert SECRET not in f"{holder!r} {holder!s} {holder}"
        assert "localhost" in repr(config)

    @pytest.mark.parametrize("url", BROKEN)
    @pytest.mark.parametrize("field", ["redis_url", "db_url"])
    def test_of_unusable_urls_are_not_in_the_error(self, field: str, url: str) -> None:
        for message in (refusal(**{field: url}), refusal(TaskConfig, rearq={field: url})):
            assert message.startswith(f"RearqConfig.{field} = ")
            assert SECRET not in message

    @pytest.mark.parametrize("url", REDIS_PASSWORDS + DATABASE_PASSWORDS)
    def test_are_not_in_the_error_about_another_field(self, url: str) -> None:
        field = "redis_url" if url in REDIS_PASSWORDS else "db_url"
        for message in (
            refusal(**{field: url}, max_jobs=0),
            refusal(**{field: url}, nonsense=url),
            refusal(TaskConfig, rearq={field: url}, nonsense=0),
            refusal(TaskConfig, rearq={field: url, "max_jobs": 0}),
            refusal(TaskConfig, rearq=RearqConfig(**{field: url}), backend="other"),
        ):
            assert SECRET not in message

    @pytest.mark.parametrize("url", REDIS_PASSWORDS + DATABASE_PASSWORDS)
    def test_are_not_in_the_error_about_a_wrong_place(self, url: str) -> None:
        for message in (
            refusal(redis_url=[url]),
            refusal(redis_url={"url": url}),
            refusal(redis_url=[f"{url}x", "redis://localhost"]),
            refusal(max_jobs=url),
            refusal(sentinels=url),
            refusal(sentinels=[url, "redis://other"]),
            refusal(TaskConfig, rearq=url),
            refusal(TaskConfig, rearq=[{"redis_url": url}]),
            refusal(TaskConfig, backend=url),
            refusal(TaskConfig, task_modules=[url]),
        ):
            assert SECRET not in message

    def test_are_not_in_the_error_about_an_assignment(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            RearqConfig().redis_url = f"redis://:{SECRET}@localhost"  # type: ignore[misc]
        assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    def test_are_not_in_the_traceback(self) -> None:
        """What the interpreter prints below the error: causes that are not suppressed."""
        with pytest.raises(ConfigurationError) as caught:
            TaskConfig(rearq={"redis_url": f"redis://:{SECRET}@localhost:99999"})  # type: ignore[arg-type]
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://user:password@host:6379/0", "redis://user:***@host:6379/0"),
            ("redis://user@host", "redis://user@host"),
            ("redis://host:6379/0?db=1", "redis://host:6379/0?db=1"),
            ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("redis://user:password@[::1]:6379/0", "redis://user:***@[::1]:6379/0"),
            ("postgres://h/x?password=a&sslmode=b", "postgres://h/x?password=***&sslmode=b"),
            ("unix:///tmp/a@b.sock", "unix:///tmp/a@b.sock"),
            ("embedded://./redis", "embedded://./redis"),
            ("sqlite:///./rearq.db", "sqlite:///./rearq.db"),
            ("no url at all", "no url at all"),
        ],
    )
    def test_the_rest_of_a_url_is_shown(self, url: str, shown: str) -> None:
        assert mask_url(url) == shown


def test_a_folder_may_be_a_path() -> None:
    assert RearqConfig(logs_dir=Path("var") / "logs").logs_dir == str(Path("var", "logs"))
