"""Lock packages of Python. Requests are lines of JSON: see tests/src/foreign_client/process.rs."""

import importlib.metadata
import json
import os
import re
import sys
import time
import warnings


class DjangoOriginal:
    """Connects Django, and reads keys off its statements where a package does not tell them."""

    def __init__(self):
        import django
        from django.conf import settings

        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "HOST": os.environ.get("PGHOST", ""),
            "PORT": os.environ.get("PGPORT", ""),
            "USER": os.environ.get("PGUSER", ""),
            "PASSWORD": os.environ.get("PGPASSWORD", ""),
        }
        settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[])
        django.setup()
        self.held = {}

    def statements(self, run):
        from django.db import connection

        seen = []

        def record(execute, sql, params, many, context):
            seen.append(sql % params if params else sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(record):
            run()
        return seen


class ContextManager(DjangoOriginal):
    """`with advisory_lock(name, wait=False) as acquired`."""

    def try_lock(self, name):
        manager = self.advisory_lock(name, wait=False)
        acquired = manager.__enter__()
        if acquired:
            self.held[name] = manager
        else:
            manager.__exit__(None, None, None)
        return acquired

    def free(self, name):
        self.held.pop(name).__exit__(None, None, None)

    def key(self, name):
        def lock_and_free():
            with self.advisory_lock(name, wait=False):
                pass

        lock, _ = self.statements(lock_and_free)
        return re.search(r"pg_try_advisory_lock\((.*?)\)", lock).group(1)


class DjangoPglocks(ContextManager):
    package = "django-pglocks"

    def __init__(self):
        super().__init__()
        from django_pglocks import advisory_lock

        self.advisory_lock = advisory_lock


class DjangoPgware(ContextManager):
    package = "django-pgware"

    def __init__(self):
        super().__init__()
        from django_pg_utils.locks import advisory_lock

        self.advisory_lock = advisory_lock


class DjangoPglock(DjangoOriginal):
    package = "django-pglock"

    def __init__(self):
        super().__init__()
        import pglock

        self.pglock = pglock

    def try_lock(self, name):
        lock = self.pglock.advisory(name, timeout=0)
        acquired = lock.acquire()
        if acquired:
            self.held[name] = lock
        return acquired

    def free(self, name):
        self.held.pop(name).release()

    def key(self, name):
        return self.pglock.advisory(name).int_lock_id

    def once(self, name):
        with self.pglock.advisory(name):
            pass


class DjangoPglockTimeout(DjangoPglock):
    def once(self, name):
        with self.pglock.advisory(name, timeout=2):
            pass


class DjangoPglockXact(DjangoPglock):
    def once(self, name):
        with self.pglock.advisory(name, xact=True):
            pass


class DjangoPglockXactTimeout(DjangoPglock):
    def once(self, name):
        with self.pglock.advisory(name, xact=True, timeout=2):
            pass


class SqlalchemyDlock:
    package = "sqlalchemy-dlock"

    def __init__(self):
        import sqlalchemy
        from sqlalchemy_dlock import create_sadlock

        self.create = create_sadlock
        self.engine = sqlalchemy.create_engine("postgresql+psycopg2://")
        self.connection = self.engine.connect()
        self.held = {}

    def once(self, name):
        with self.engine.connect() as connection, self.create(connection, name):
            pass

    def try_lock(self, name):
        lock = self.create(self.connection, name)
        acquired = lock.acquire(block=False)
        if acquired:
            self.held[name] = lock
        return acquired

    def free(self, name):
        self.held.pop(name).release()

    def key(self, name):
        return self.create(self.connection, name).actual_key


class SqlalchemyDlockXact(SqlalchemyDlock):
    def __init__(self):
        super().__init__()
        # That a transaction lock is not released by hand is what is wanted.
        warnings.simplefilter("ignore", RuntimeWarning)

    def once(self, name):
        with self.engine.begin() as connection, self.create(connection, name, xact=True):
            pass


class PostgresqlLock:
    package = "postgresql-lock"

    def __init__(self):
        import psycopg2
        from postgresql_lock import Lock

        self.lock = Lock
        self.connection = psycopg2.connect("")
        self.held = {}

    def try_lock(self, name):
        lock = self.lock(self.connection, name)
        acquired = lock.acquire(block=False)
        if acquired:
            self.held[name] = lock
        return acquired

    def free(self, name):
        assert self.held.pop(name).release()

    def key(self, name):
        return self.lock(self.connection, name).lock_id


class Pals:
    package = "PALs"
    app = None

    def __init__(self):
        import pals

        self.locker = pals.Locker(self.app, "postgresql+psycopg2://")
        self.held = {}

    def try_lock(self, name):
        lock = self.locker.lock(name, blocking=False)
        acquired = lock.acquire()
        if acquired:
            self.held[name] = lock
        return acquired

    def free(self, name):
        self.held.pop(name).release()

    def key(self, name):
        return self.locker.lock(name).lock_num


class PalsWithApp(Pals):
    app = "billing"


ORIGINALS = {
    original.__name__: original
    for original in [
        DjangoPglock,
        DjangoPglockTimeout,
        DjangoPglockXact,
        DjangoPglockXactTimeout,
        DjangoPglocks,
        DjangoPgware,
        SqlalchemyDlock,
        SqlalchemyDlockXact,
        PostgresqlLock,
        Pals,
        PalsWithApp,
    ]
}


def took(original, name):
    start = time.perf_counter_ns()
    original.once(name)
    return time.perf_counter_ns() - start


def answer(original, request):
    name = request.get("name")
    if request["do"] == "try":
        return {"held": bool(original.try_lock(name))}
    if request["do"] == "free":
        original.free(name)
        return {}
    if request["do"] == "measure":
        return {"nanoseconds": [took(original, name) for _ in range(request["count"])]}
    return {"keys": [str(original.key(name)) for name in request["names"]]}


def main():
    original = ORIGINALS[sys.argv[1]]()
    version = importlib.metadata.version(original.package)
    python = ".".join(map(str, sys.version_info[:3]))
    answers = {"package": f"{original.package} {version}", "runtime": f"Python {python}"}
    print(json.dumps(answers), flush=True)
    for line in sys.stdin:
        try:
            answers = answer(original, json.loads(line))
        except Exception as error:
            answers = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answers), flush=True)


main()
